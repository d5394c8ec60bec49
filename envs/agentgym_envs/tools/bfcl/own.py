"""Tasks of our own in the benchmark's format: functions of everyday life, requests for one or several of them, or for none."""

import random
from typing import Any

from agentgym import Task

KINDS = ("simple", "multiple", "parallel", "parallel_multiple", "irrelevance")
_CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Turin", "Delhi", "Kyoto", "Perth")
_PEOPLE = ("Ada", "Bo", "Cleo", "Dina", "Emil", "Freya")

# A function: its name, what it does, how it is asked for, and its parameters with their types and values.
_Values = dict[str, tuple[str, Any]]
_FUNCTIONS: tuple[tuple[str, str, str, _Values], ...] = (
    (
        "weather.forecast",
        "Get the weather of the next days in a city.",
        "What will the weather be in {city} for the next {days} days?",
        {"city": ("string", _CITIES), "days": ("integer", range(2, 15))},
    ),
    (
        "timer.set",
        "Set a timer.",
        "Set a timer for {minutes} minutes called {label}.",
        {"minutes": ("integer", range(3, 90)), "label": ("string", ("tea", "eggs", "laundry", "bread"))},
    ),
    (
        "money.convert",
        "Convert an amount from one currency to another.",
        "How much is {amount} {source} in {target}?",
        {
            "amount": ("float", (12.5, 40.0, 99.9, 250.0)),
            "source": ("string", ("EUR", "USD")),
            "target": ("string", ("JPY", "CHF")),
        },
    ),
    (
        "table.book",
        "Book a table in a restaurant.",
        "Book a table for {guests} at {place}, outside: {outside}.",
        {
            "guests": ("integer", range(2, 9)),
            "place": ("string", ("Chez Nous", "The Anchor", "Da Mario")),
            "outside": ("boolean", (True, False)),
        },
    ),
    (
        "message.send",
        "Send a message to people.",
        "Tell {people} that I am late by {minutes} minutes.",
        {"people": ("array", [[a, b] for a in _PEOPLE[:3] for b in _PEOPLE[3:]]), "minutes": ("integer", range(5, 60, 5))},
    ),
    (
        "distance.between",
        "Get the distance between two cities.",
        "How far is it from {start} to {end}?",
        {"start": ("string", _CITIES[:4]), "end": ("string", _CITIES[4:])},
    ),
)
_CHAT = ("Who wrote {0}?", "What does the word {0} mean?", "Sing me a song about {0}.", "Why do people like {0}?")


def make_task(rng: random.Random) -> Task:
    """A task of some kind, in the benchmark's format."""
    kind = rng.choice(KINDS)
    several = "multiple" in kind
    chosen = rng.sample(_FUNCTIONS, 3 if several else 1)
    asked = {"simple": chosen, "multiple": chosen[:1], "parallel": chosen * rng.randrange(2, 4)}.get(kind, chosen[:2])
    docs = [_doc(f) for f in rng.sample(chosen, len(chosen))]
    if kind == "irrelevance":
        text, gold = rng.choice(_CHAT).format(f"{rng.choice(_PEOPLE)} {rng.choice(_CITIES)}"), []
    else:
        drawn = [(f, {k: rng.choice(values) for k, (_, values) in f[3].items()}) for f in asked]
        text = " ".join(f[2].format(**{k: _said(v) for k, v in values.items()}) for f, values in drawn)
        gold = [{f[0]: {k: [v] for k, v in values.items()}} for f, values in drawn]
    data = {"category": kind, "turns": [[{"role": "user", "content": text}]], "gold": gold, "functions": docs}
    return Task(text, data, difficulty=kind)


def _doc(function: tuple[str, str, str, _Values]) -> dict[str, Any]:
    name, description, _, values = function
    properties = {k: {"type": kind, "description": f"The {k}."} for k, (kind, _) in values.items()}
    for parameter in properties.values():
        if parameter["type"] == "array":
            parameter["items"] = {"type": "string"}  # type: ignore[assignment]
    parameters = {"type": "dict", "properties": properties, "required": list(values)}
    return {"name": name, "description": description, "parameters": parameters}


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " and ".join(value) if isinstance(value, list) else str(value)
