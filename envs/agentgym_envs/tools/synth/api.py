"""APIs from numbers: what is kept, which operations there are, and how both are called."""

import functools
import random
from typing import Any

import msgspec

TRAIN_APIS = 16  # numbers 0 to 15 are those of train and validation tasks; held-out ones come after them
HELD_OUT_APIS = 16

_NOUNS = (
    "parcel", "room", "ticket", "plant", "boat", "lesson", "stall", "bike", "tent", "robot", "lamp", "garden", "crate", "piano",
)  # fmt: skip
_HELD_OUT_NOUNS = ("bridge", "camera", "drone", "oven", "tunnel", "wagon")
_AMOUNTS = ("weight", "price", "size", "level", "score", "age", "stock", "speed")
_STATES = {
    "zone": ("north", "south", "west"),
    "color": ("red", "green", "blue"),
    "mode": ("day", "night", "auto"),
    "rank": ("gold", "silver", "bronze"),
    "shape": ("round", "square", "flat"),
}
_FLAGS = ("urgent", "open", "paid", "locked", "public")
_VERBS = {
    "find": ("find", "search", "lookup", "locate"),
    "get": ("get", "read", "show", "fetch"),
    "set": ("set", "change", "update", "edit"),
    "add": ("add", "raise", "increase"),
    "move": ("move", "transfer", "shift"),
    "delete": ("delete", "remove", "drop"),
    "create": ("create", "make", "register"),
}
_PARAMETERS = {
    "id": ("id", "ref", "{noun}_id"),
    "to": ("to", "target", "other"),
    "name": ("name", "owner", "person"),
    "value": ("value", "new", "{field}"),
    "by": ("by", "amount", "units"),
}

ALWAYS = ("find", "get")
SOMETIMES = ("set_amount", "set_state", "set_flag", "add", "move", "delete", "create")
GAPS = 2  # operations that an API lacks
TAKES: dict[str, tuple[str, ...]] = {  # the parameters of each operation, by what they mean
    "find": ("name",),
    "get": ("id",),
    "set_amount": ("id", "value"),
    "set_state": ("id", "value"),
    "set_flag": ("id", "value"),
    "add": ("id", "by"),
    "move": ("id", "to", "by"),
    "delete": ("id",),
    "create": ("name", "value"),
}


class Api(msgspec.Struct, frozen=True):
    """What is kept and which operations there are, under the words of this API.

    Attributes:
        number: It is made from this.
        noun: What is kept: parcels, rooms ...
        other: What the tools are about that are of no use.
        amount: The field that is a whole number.
        state: The field that has one of `states`.
        states: Its values.
        flag: The field that is true or false.
        operations: Those that exist, in the order of the tools.
    """

    number: int
    noun: str
    other: str
    amount: str
    state: str
    states: tuple[str, ...]
    flag: str
    operations: tuple[str, ...]

    @property
    def letter(self) -> str:
        """What ids begin with."""
        return self.noun[0].upper()

    @property
    def missing(self) -> tuple[str, ...]:
        """Operations that do not exist."""
        return tuple(o for o in SOMETIMES if o not in self.operations)

    def subject(self, operation: str) -> str:
        """What an operation is called after: a field, or the noun."""
        fields = {"set_amount": self.amount, "add": self.amount, "move": self.amount, "create": self.noun}
        return (fields | {"set_state": self.state, "set_flag": self.flag}).get(operation, self.noun)


class Words(msgspec.Struct, frozen=True):
    """How an API's tools and parameters are called.

    Attributes:
        tools: Names by operation, those of distractors among them: ``get`` of the other noun is ``other_get``.
        parameters: Of each operation: shown names by what they mean.
    """

    tools: dict[str, str]
    parameters: dict[str, dict[str, str]]


@functools.lru_cache(maxsize=256)
def api(number: int) -> Api:
    """The API of a number; from `TRAIN_APIS` on its noun is one that no API below has."""
    rng = random.Random(f"api/{number}")
    nouns = list(_NOUNS if number < TRAIN_APIS else _HELD_OUT_NOUNS)
    # Every noun has its turn, so that few APIs have many nouns.
    noun = nouns[number % len(nouns)]
    other = rng.choice([n for n in nouns if n != noun])
    state = rng.choice(sorted(_STATES))
    gaps = rng.sample(SOMETIMES, GAPS)
    there = [o for o in (*ALWAYS, *SOMETIMES) if o not in gaps]
    rng.shuffle(there)
    return Api(number, noun, other, rng.choice(_AMOUNTS), state, _STATES[state], rng.choice(_FLAGS), tuple(there))


@functools.lru_cache(maxsize=4096)
def words(number: int, renaming: int) -> Words:
    """How the tools of an API are called; other numbers in `renaming` give other words for the same."""
    rng, spec = random.Random(f"words/{number}/{renaming}"), api(number)
    verbs = {kind: rng.choice(choices) for kind, choices in _VERBS.items()}
    backwards = rng.random() < 0.5
    shown = {kind: rng.choice(choices) for kind, choices in _PARAMETERS.items()}

    def name(operation: str, subject: str) -> str:
        verb = verbs[operation.partition("_")[0]]
        return f"{subject}_{verb}" if backwards else f"{verb}_{subject}"

    tools = {o: name(o, spec.subject(o)) for o in spec.operations}
    tools |= {f"other_{o}": name(o, spec.other) for o in ("get", "find", "delete")}
    parameters = {
        o: {p: shown[p].format(noun=spec.noun, field=spec.subject(o) if o != "create" else spec.amount) for p in TAKES[o]}
        for o in TAKES
    }
    return Words(tools, parameters)


def described(spec: Api, operation: str) -> str:
    """What a tool does, in a sentence."""
    noun = spec.noun
    return {
        "find": f"Find the id of somebody's {noun}.",
        "get": f"Read a {noun}.",
        "set_amount": f"Set the {spec.amount} of a {noun}.",
        "set_state": f"Set the {spec.state} of a {noun}.",
        "set_flag": f"Say whether a {noun} is {spec.flag}.",
        "add": f"Add to the {spec.amount} of a {noun}.",
        "move": f"Take {spec.amount} from one {noun} and add it to another.",
        "delete": f"Delete a {noun}.",
        "create": f"Make a {noun} for somebody, with a {spec.amount}.",
    }[operation]


def type_of(spec: Api, operation: str, parameter: str) -> Any:
    """The Python type of a parameter."""
    if parameter == "by" or (parameter == "value" and operation in ("set_amount", "create")):
        return int
    if parameter == "value":
        return bool if operation == "set_flag" else spec.states
    return str
