"""How long the answer is."""
# ruff: noqa: D102  (`Constraint` documents the methods)

import random
from typing import Self

from agentgym_envs.instruct.constraints.base import Blocks, Constraint, Count, Plan
from agentgym_envs.instruct.text import lines, paragraphs, sentences, words


class WordsExactly(Constraint, frozen=True, tag="words_exactly"):
    """Exactly `n` words."""

    n: Count
    claims = frozenset({"words"})
    phrases = ("Use exactly {n} words.", "The answer must have exactly {n} words.", "Write {n} words, no more and no fewer.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(10, 40))

    def holds(self, answer: str) -> bool:
        return len(words(answer)) == self.n

    def guide(self, plan: Plan) -> None:
        plan.words = (self.n, self.n)


class WordsAtLeast(Constraint, frozen=True, tag="words_at_least"):
    """`n` words or more."""

    n: Count
    claims = frozenset({"words"})
    phrases = ("Use at least {n} words.", "The answer must not be shorter than {n} words.", "Write {n} words or more.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(25, 60))

    def holds(self, answer: str) -> bool:
        return len(words(answer)) >= self.n

    def guide(self, plan: Plan) -> None:
        plan.words = (self.n, self.n + 12)


class WordsAtMost(Constraint, frozen=True, tag="words_at_most"):
    """`n` words or fewer."""

    n: Count
    claims = frozenset({"words"})
    phrases = ("Use at most {n} words.", "The answer must not be longer than {n} words.", "Write {n} words or fewer.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(8, 25))

    def holds(self, answer: str) -> bool:
        return len(words(answer)) <= self.n

    def guide(self, plan: Plan) -> None:
        plan.words = (self.n - 3, self.n)


class Sentences(Constraint, frozen=True, tag="sentences"):
    """Exactly `n` sentences."""

    n: Count
    claims = frozenset({"layout"})
    phrases = ("Write exactly {n} sentences.", "The answer must consist of {n} sentences.", "Use {n} sentences in all.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 5))

    def holds(self, answer: str) -> bool:
        return len(sentences(answer)) == self.n

    def guide(self, plan: Plan) -> None:
        plan.sentences = self.n


class Lines(Constraint, frozen=True, tag="lines"):
    """Exactly `n` lines; blank ones do not count."""

    n: Count
    claims = frozenset({"layout"})
    phrases = ("Write exactly {n} lines.", "The answer must have {n} lines of text.", "Divide the answer into {n} lines.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 5))

    def holds(self, answer: str) -> bool:
        return len(lines(answer)) == self.n

    def guide(self, plan: Plan) -> None:
        plan.blocks, plan.layout = self.n, _lines


class Paragraphs(Constraint, frozen=True, tag="paragraphs"):
    """Exactly `n` paragraphs with blank lines between them."""

    n: Count
    claims = frozenset({"layout"})
    phrases = (
        "Write exactly {n} paragraphs and leave a blank line between them.",
        "The answer must have {n} paragraphs, separated by blank lines.",
    )

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 4))

    def holds(self, answer: str) -> bool:
        return len(paragraphs(answer)) == self.n

    def guide(self, plan: Plan) -> None:
        plan.blocks, plan.layout = self.n, _paragraphs


def _lines(blocks: Blocks) -> str:
    return "\n".join(" ".join(block) for block in blocks)


def _paragraphs(blocks: Blocks) -> str:
    return "\n\n".join(" ".join(block) for block in blocks)
