"""What every demand on an answer says of itself, and the plan through which constraints guide the oracle's writer."""

import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeVar

import msgspec

Blocks = list[list[str]]
Count = Annotated[int, msgspec.Meta(ge=1)]


def prose(blocks: Blocks) -> str:
    """All sentences one after another."""
    return " ".join(" ".join(block) for block in blocks)


class Plan(msgspec.Struct):
    """What the writer observes; each constraint sets the fields that concern it.

    Attributes:
        rng: For choices that the constraint leaves open.
        words: The fewest and the most words to aim at.
        sentences: How many sentences there are in all; None leaves it open.
        at_least: The fewest sentences besides the ending.
        blocks: Into how many blocks the sentences are divided.
        layout: Writes the blocks as one text.
        finish: Changes of the whole text, in order.
        titled: Whether the first line is a title in double angle brackets.
        nouns: Words to use, as often as they stand here.
        avoided: Words not to use.
        shunned: A letter not to use; empty for none.
        favoured: A letter to use often; empty for none.
        commas: How many commas there are; None leaves it open.
        opening: How the first sentence begins.
        ending: The last sentence.
    """

    rng: random.Random
    words: tuple[int, int] = (14, 36)
    sentences: int | None = None
    at_least: int = 1
    blocks: int = 1
    layout: Callable[[Blocks], str] = prose
    finish: list[Callable[[str], str]] = []
    titled: bool = False
    nouns: list[str] = []
    avoided: set[str] = set()
    shunned: str = ""
    favoured: str = ""
    commas: int | None = None
    opening: str = ""
    ending: str = ""


class Demand(msgspec.Struct, frozen=True, tag_field="kind"):
    """Something asked of an answer that a program can check. Its fields are its parameters, plain JSON together with `kind`.

    Attributes:
        claims: The aspects of a text that it settles; two demands that claim the same one are never composed.
        phrases: How it is said, with the fields as placeholders.
    """

    claims: ClassVar[frozenset[str]]
    phrases: ClassVar[tuple[str, ...]]

    @property
    def kind(self) -> str:
        """The name of the kind, as in the task's data."""
        return str(self.__struct_config__.tag)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        """A demand of this kind with random parameters."""
        return cls()

    def sentence(self, rng: random.Random) -> str:
        """The demand as an instruction, in one of its phrasings."""
        return rng.choice(self.phrases).format(**{name: _shown(getattr(self, name)) for name in self.__struct_fields__})

    def holds(self, answer: str) -> bool:
        """Whether `answer` fulfils it."""
        raise NotImplementedError


class Constraint(Demand, frozen=True):
    """A demand of ``instruct/Verifiable-v0``; its answers have no white space around them."""

    def guide(self, plan: Plan) -> None:
        """Set what the writer has to observe so that the constraint holds."""
        raise NotImplementedError


D = TypeVar("D", bound=Demand)


def compose(rng: random.Random, count: int, kinds: Sequence[type[D]]) -> list[D]:
    """`count` demands of different kinds, no two of which claim the same aspect of the text."""
    chosen: list[D] = []
    claimed: set[str] = set()
    while len(chosen) < count:
        kind = rng.choice(kinds)
        if claimed.isdisjoint(kind.claims):
            chosen.append(kind.draw(rng))
            claimed |= kind.claims
    return chosen


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f'"{item}"' for item in value)
    if isinstance(value, dict):
        return ", ".join(f'"{key}" ({kind})' for key, kind in value.items())
    return str(value)
