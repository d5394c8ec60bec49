"""Constraints on case, letters and punctuation."""
# ruff: noqa: D102  (`Constraint` documents the methods)

import random
import re
from functools import partial
from typing import Self

from agentgym_envs.instruct.constraints.base import Constraint, Count, Plan
from agentgym_envs.instruct.text import WORD, words

LETTERS = "bcfgkmpvwy"  # common enough to matter, rare enough to be avoided
_FULL_STOP = re.compile(r"(?<=[^\W\d])\.")  # of a sentence, not of a numbered list


class Upper(Constraint, frozen=True, tag="upper"):
    """No small letters."""

    claims = frozenset({"case"})
    phrases = ("Write everything in capital letters.", "Use capital letters only.")

    def holds(self, answer: str) -> bool:
        return not any(map(str.islower, answer))

    def guide(self, plan: Plan) -> None:
        plan.finish.append(str.upper)


class Lower(Constraint, frozen=True, tag="lower"):
    """No capital letters."""

    claims = frozenset({"case"})
    phrases = ("Write everything in small letters.", "Use lowercase letters only, no capitals.")

    def holds(self, answer: str) -> bool:
        return not any(map(str.isupper, answer))

    def guide(self, plan: Plan) -> None:
        plan.finish.append(str.lower)


class TitleCase(Constraint, frozen=True, tag="title_case"):
    """Every word begins with a capital letter and goes on in small ones."""

    claims = frozenset({"case"})
    phrases = (
        "Begin every word with a capital letter and write all its other letters small.",
        "Capitalize each word: the first letter large, all others small.",
    )

    def holds(self, answer: str) -> bool:
        return all(w[0].isupper() and w[1:] == w[1:].lower() for w in words(answer))

    def guide(self, plan: Plan) -> None:
        plan.finish.append(_capitalize)


class CapitalWords(Constraint, frozen=True, tag="capital_words"):
    """At least `n` words, of two letters or more, in capital letters."""

    n: Count
    claims = frozenset({"case"})
    phrases = (
        "Write at least {n} words, of two letters or more, entirely in capital letters.",
        "Stress {n} or more words, none of a single letter, by writing them all in capitals.",
    )

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 4))

    def holds(self, answer: str) -> bool:
        return sum(len(w) > 1 and w.isupper() for w in words(answer)) >= self.n

    def guide(self, plan: Plan) -> None:
        plan.finish.append(partial(_shout, self.n))


class LetterAtLeast(Constraint, frozen=True, tag="letter_at_least"):
    """A letter, large or small, occurs `n` times or more."""

    letter: str
    n: Count
    claims = frozenset({"letter"})
    phrases = ('Use the letter "{letter}" at least {n} times.', 'The letter "{letter}" must occur {n} times or more.')

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(LETTERS), rng.randint(3, 5))

    def holds(self, answer: str) -> bool:
        return answer.casefold().count(self.letter) >= self.n

    def guide(self, plan: Plan) -> None:
        plan.favoured = self.letter
        plan.at_least = max(plan.at_least, self.n - 1)  # nearly every sentence can have one, some have two


class LetterAtMost(Constraint, frozen=True, tag="letter_at_most"):
    """A letter, large or small, occurs `n` times or less."""

    letter: str
    n: Count
    claims = frozenset({"letter"})
    phrases = ('Use the letter "{letter}" at most {n} times.', 'The letter "{letter}" must not occur more than {n} times.')

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(LETTERS), rng.randint(2, 3))

    def holds(self, answer: str) -> bool:
        return answer.casefold().count(self.letter) <= self.n

    def guide(self, plan: Plan) -> None:
        plan.shunned = self.letter  # what is left to the writer goes without it, so that the required words have room


class NoLetter(Constraint, frozen=True, tag="no_letter"):
    """A letter, large or small, does not occur."""

    letter: str
    claims = frozenset({"letter"})
    phrases = ('Do not use the letter "{letter}".', 'No word may contain the letter "{letter}".')

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(LETTERS))

    def holds(self, answer: str) -> bool:
        return self.letter not in answer.casefold()

    def guide(self, plan: Plan) -> None:
        plan.shunned = self.letter


class Commas(Constraint, frozen=True, tag="commas"):
    """Exactly `n` commas."""

    n: Count
    claims = frozenset({"commas"})
    phrases = ("Use exactly {n} commas.", "There must be {n} commas in the answer, no more and no fewer.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 4))

    def holds(self, answer: str) -> bool:
        return answer.count(",") == self.n

    def guide(self, plan: Plan) -> None:
        plan.commas = self.n
        plan.at_least = max(plan.at_least, self.n)


class NoCommas(Constraint, frozen=True, tag="no_commas"):
    """No commas."""

    claims = frozenset({"commas"})
    phrases = ("Do not use any commas.", "The answer must not contain a comma.")

    def holds(self, answer: str) -> bool:
        return "," not in answer

    def guide(self, plan: Plan) -> None:
        plan.commas = 0


class Exclamations(Constraint, frozen=True, tag="exclamations"):
    """Exactly `n` exclamation marks."""

    n: Count
    claims = frozenset({"exclamations"})
    phrases = ("Use exactly {n} exclamation marks.", "There must be {n} exclamation marks in the answer, no more and no fewer.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 3))

    def holds(self, answer: str) -> bool:
        return answer.count("!") == self.n

    def guide(self, plan: Plan) -> None:
        plan.at_least = max(plan.at_least, self.n)
        plan.finish.append(partial(_exclaim, self.n))


def _capitalize(text: str) -> str:
    return WORD.sub(lambda match: match[0].capitalize(), text)


def _shout(n: int, text: str) -> str:
    longest = sorted(WORD.finditer(text), key=lambda match: -len(match[0]))[:n]
    for match in longest:
        text = text[: match.start()] + match[0].upper() + text[match.end() :]
    return text


def _exclaim(n: int, text: str) -> str:
    return _FULL_STOP.sub("!", text, count=n)
