"""Which words the answer uses, and how it begins and ends.

The case of letters never matters here, so that these constraints go with any rule of case. Words are given in small letters.
"""
# ruff: noqa: D102  (`Constraint` documents the methods)

import random
from typing import Self

from agentgym_envs.instruct.constraints.base import Constraint, Count, Plan
from agentgym_envs.instruct.text import folded
from agentgym_envs.instruct.vocabulary import AVOIDED, ENDINGS, KEYWORDS, OPENINGS


class Include(Constraint, frozen=True, tag="include"):
    """Each of the words is used."""

    words: list[str]
    claims = frozenset({"include"})
    phrases = ("Use each of these words: {words}.", "Include all of the following words: {words}.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.sample(KEYWORDS, rng.randint(2, 3)))

    def holds(self, answer: str) -> bool:
        return set(self.words) <= set(folded(answer))

    def guide(self, plan: Plan) -> None:
        plan.nouns += self.words


class Repeat(Constraint, frozen=True, tag="repeat"):
    """A word is used exactly `n` times."""

    word: str
    n: Count
    claims = frozenset({"repeat"})
    phrases = ('Use the word "{word}" exactly {n} times.', 'The word "{word}" must appear {n} times, neither more nor less.')

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(KEYWORDS), rng.randint(2, 4))

    def holds(self, answer: str) -> bool:
        return folded(answer).count(self.word) == self.n

    def guide(self, plan: Plan) -> None:
        plan.nouns += [self.word] * self.n


class Avoid(Constraint, frozen=True, tag="avoid"):
    """None of the words is used."""

    words: list[str]
    claims = frozenset({"avoid"})
    phrases = ("Do not use any of these words: {words}.", "Avoid the following words: {words}.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.sample(AVOIDED, rng.randint(2, 4)))

    def holds(self, answer: str) -> bool:
        return set(self.words).isdisjoint(folded(answer))

    def guide(self, plan: Plan) -> None:
        plan.avoided.update(self.words)


class StartsWith(Constraint, frozen=True, tag="starts_with"):
    """The answer begins with the phrase, as whole words."""

    phrase: str
    claims = frozenset({"opening"})
    phrases = ('Begin the answer with the words "{phrase}".', 'The first words must be "{phrase}".')

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(OPENINGS))

    def holds(self, answer: str) -> bool:
        text, phrase = answer.casefold(), self.phrase.casefold()
        return text.startswith(phrase) and not text[len(phrase) : len(phrase) + 1].isalnum()

    def guide(self, plan: Plan) -> None:
        plan.opening = self.phrase


class EndsWith(Constraint, frozen=True, tag="ends_with"):
    """The answer ends with the sentence, full stop and all."""

    phrase: str
    claims = frozenset({"ending"})
    phrases = ('End the answer with the sentence "{phrase}"', 'The very last sentence must be "{phrase}"')

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(ENDINGS))

    def holds(self, answer: str) -> bool:
        text, phrase = answer.casefold(), self.phrase.casefold()
        return text.endswith(phrase) and not text[: -len(phrase)][-1:].isalnum()

    def guide(self, plan: Plan) -> None:
        plan.ending = self.phrase
