"""What users of an API ask for: how it is said, what has to be called, what has to be answered."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec

from agentgym import Task
from agentgym.partners import Card, Line

from .api import HELD_OUT_APIS, SOMETIMES, TRAIN_APIS, Api, api
from .world import PEOPLE, World, build, perform

LEVELS = ("easy", "medium", "hard")
READS = ("amount", "state")
_PHRASES = {
    "read": ("What is the {field} of {it}?", "Tell me the {field} of {it}."),
    "set_amount": ("Set the {field} of {it} to {value}.", "Change the {field} of {it} to {value}."),
    "set_state": ("Set the {field} of {it} to {value}.", "Change the {field} of {it} to {value}."),
    "set_flag": ("Mark {it} as {value}.", "Please make {it} {value}."),
    "add": ("Add {value} to the {field} of {it}.", "Raise the {field} of {it} by {value}."),
    "move": ("Move {value} {field} from {it} to {to}.", "Take {value} {field} from {it} and give it to {to}."),
    "delete": ("Delete {it}.", "Please remove {it}."),
    "create": ("Make a {noun} for {name} with {field} {value}.", "{name} needs a new {noun} with {field} {value}."),
}
_UNSAID = {
    "set_amount": ("Change the {field} of {it}.", "Set a new {field} for {it}."),
    "add": ("Raise the {field} of {it}.", "Add to the {field} of {it}."),
}
CANNOT = "I cannot do that."


class Wish(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a user wants.

    Attributes:
        kind: "read", or an operation.
        id: The record.
        to: The other record of a move.
        field: What is read.
        value: What is set, added or moved.
        name: Whose record is made.
        named: The records are called by their owners, not by their ids.
        unsaid: The user says the value only when asked.
    """

    kind: str
    id: str = ""
    to: str = ""
    field: str = ""
    value: Any = None
    name: str = ""
    named: bool = False
    unsaid: bool = False


def make_task(rng: random.Random, level: str, held_out: bool) -> Task:
    """A task of a level, for an API of the train or of the held-out ones."""
    number = rng.randrange(TRAIN_APIS, TRAIN_APIS + HELD_OUT_APIS) if held_out else rng.randrange(TRAIN_APIS)
    spec, seed = api(number), rng.randrange(2**32)
    world = build(spec, seed)
    wishes = [_draw(rng, spec, world, level)]
    if level == "hard" and rng.random() < 0.5:
        more = (_draw(rng, spec, world, level) for _ in range(6))
        wishes += [w for w in more if not _touch(w, wishes[0])][:1]
    text = " Also: ".join(_phrase(rng, spec, world, w) for w in wishes)
    lines = tuple(Line(f"{w.value}.", (spec.amount,)) for w in wishes if w.unsaid)
    known = "".join(f" The new {spec.amount} or what is to be added is {w.value}." for w in wishes if w.unsaid)
    card = Card(text, lines, "I have told you all I know.", goal=text + known)
    data: dict[str, Any] = {"api": number, "seed": seed, "wishes": msgspec.to_builtins(wishes), "user": msgspec.to_builtins(card)}
    if level != "easy":
        data["distractors"] = 2
    if level == "hard":
        data |= {"renaming": rng.choice((0, 1, 2, 3)), "noise": True, "faults": _faults(rng, wishes)}
    return Task(text, data, difficulty=level)


def _faults(rng: random.Random, wishes: list[Wish]) -> dict[str, int]:
    """How often operations fail before they work."""
    return {rng.choice([calling(w.kind) for w in wishes]): rng.choice((1, 1, 2))} if rng.random() < 0.5 else {}


def _draw(rng: random.Random, spec: Api, world: World, level: str) -> Wish:
    """A read one time in three, something impossible one time in six, else any operation that exists."""
    chance = rng.random()
    there = [o for o in SOMETIMES if o in spec.operations]
    kind = "read" if chance < 1 / 3 else rng.choice(spec.missing) if chance < 1 / 2 else rng.choice(there)
    key, other = rng.sample(sorted(world.records), 2)
    named = level != "easy" and kind != "create" and rng.random() < 0.6
    if kind == "read":
        return Wish(kind, key, field=rng.choice(READS), named=named)
    if kind == "create":
        free = [p for p in PEOPLE if all(p != r["name"] for r in world.records.values())]
        return Wish(kind, name=rng.choice(free), value=rng.randrange(10, 100))
    if kind == "move":
        return Wish(kind, key, other, value=rng.randrange(1, world.records[key][spec.amount]), named=named)
    unsaid = level != "easy" and kind in _UNSAID and kind in spec.operations and rng.random() < 0.4
    record = world.records[key]
    values: dict[str, list[Any]] = {
        "set_state": [s for s in spec.states if s != record[spec.state]],
        "set_flag": [not record[spec.flag]],
        "delete": [None],
    }
    amounts = [n for n in range(10, 100) if n != record[spec.amount]]
    return Wish(kind, key, value=rng.choice(values.get(kind, amounts)), named=named, unsaid=unsaid)


def _touch(one: Wish, other: Wish) -> bool:
    """Whether two wishes are about the same record, or both are about a value that was not said."""
    return bool({one.id, one.to, one.name} & {other.id, other.to, other.name} - {""}) or (one.unsaid and other.unsaid)


def _phrase(rng: random.Random, spec: Api, world: World, w: Wish) -> str:
    """The wish in the user's words."""
    value = w.value
    if w.kind == "set_flag":
        value = spec.flag if w.value else f"not {spec.flag}"
    choices = (_UNSAID if w.unsaid else _PHRASES)[w.kind]
    it, to = (_called(spec, world, key, w.named) for key in (w.id, w.to))
    return rng.choice(choices).format(field=field_of(spec, w), it=it, to=to, value=value, name=w.name, noun=spec.noun)


def _called(spec: Api, world: World, key: str, named: bool) -> str:
    if not key:
        return ""
    return f"the {spec.noun} of {world.records[key]['name']}" if named else f"{spec.noun} {key}"


# ---- what is right ---------------------------------------------------------------------------------------------------------


def calling(kind: str) -> str:
    """The operation that fulfils a wish."""
    return "get" if kind == "read" else kind


def field_of(spec: Api, w: Wish) -> str:
    """The field that a wish is about, under the API's word."""
    about = w.field if w.kind == "read" else {"set_state": "state", "set_flag": "flag"}.get(w.kind, "amount")
    return {"amount": spec.amount, "state": spec.state, "flag": spec.flag}[about]


def possible(spec: Api, w: Wish) -> bool:
    """Whether the API has what the wish needs."""
    return calling(w.kind) in spec.operations


def goal(spec: Api, world: World, wishes: list[Wish]) -> tuple[World, list[str]]:
    """The world as it should be, and what has to be stated."""
    wanted, facts = world.copy(), []
    for w in wishes:
        if not possible(spec, w):
            continue
        said = perform(spec, wanted, calling(w.kind), arguments(w))
        if w.kind == "read":
            facts.append(str(said[field_of(spec, w)]))
        elif w.kind == "create":
            facts.append(said["id"])
    return wanted, facts


def arguments(w: Wish) -> dict[str, Any]:
    """The arguments of the operation that fulfils a wish, by what they mean."""
    given = {"id": w.id, "to": w.to, "value": w.value, "by": w.value, "name": w.name}
    wanted = {"read": ("id",), "delete": ("id",), "create": ("name", "value"), "move": ("id", "to", "by"), "add": ("id", "by")}
    return {p: given[p] for p in wanted.get(w.kind, ("id", "value"))}


def plan(spec: Api, world: World, w: Wish) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The calls that fulfil a wish: what is said with each, its operation and its arguments.

    What was found is said before it is used, as agents that reason before they act do (Yao et al. 2023, "ReAct"): a small policy
    learns to find and then to copy, but not both at once. An impossible wish needs no call.
    """
    if not possible(spec, w):
        return
    found = [key for key in (w.id, w.to) if key and w.named]
    note = ""
    for key in found:
        name = world.records[key]["name"]
        yield note, "find", {"name": name}
        note = f"{note} {name} has {key}.".strip()
    yield note, calling(w.kind), arguments(w)


def sentence(spec: Api, w: Wish, fact: str) -> str:
    """The answer to one wish."""
    if not possible(spec, w):
        return CANNOT
    if w.kind == "read":
        return f"The {field_of(spec, w)} is {fact}."
    return f"The new {spec.noun} is {fact}." if w.kind == "create" else "It is done."


def question(spec: Api) -> str:
    """What is asked for when a value was not said."""
    return f"What {spec.amount} do you mean?"
