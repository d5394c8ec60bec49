"""Instructions on words, letters, case, punctuation and language."""
# ruff: noqa: D102  (`Demand` documents the methods)

import random
import re
from typing import Annotated, Self

from msgspec import Meta

from agentgym_envs.instruct.constraints.base import Count
from agentgym_envs.instruct.ifeval.base import Draft, Instruction, Relation, narrowed, related
from agentgym_envs.instruct.ifeval.language import ALIASES, CODES, written_in
from agentgym_envs.instruct.text import words
from agentgym_envs.instruct.vocabulary import AVOIDED, KEYWORDS

RELATIONS: tuple[Relation, ...] = ("at least", "less than")
NAMES = {"de": "German", "it": "Italian", "pt": "Portuguese", "ru": "Russian", "hi": "Hindi", "ko": "Korean", "ar": "Arabic"}
_DOT = re.compile(r"\b([^\W\d_])\.(?=[^\W\d_]\b)")  # within "U.S."
Words = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1)]
Character = Annotated[str, Meta(min_length=1, max_length=1)]


class Existence(Instruction, frozen=True, tag="keywords:existence"):
    """Each keyword occurs, in any case, also inside of other words."""

    keywords: Words
    claims = frozenset({"include"})
    phrases = ("Include the keywords {keywords} in your answer.", "Use all of these keywords: {keywords}.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.sample(KEYWORDS[:20], rng.randint(1, 3)))

    def holds(self, answer: str) -> bool:
        return all(k.lower() in answer.lower() for k in self.keywords)

    def guide(self, draft: Draft) -> None:
        for keyword in self.keywords:
            draft.mentions[keyword] = max(1, draft.mentions.get(keyword, 0))


class Frequency(Instruction, frozen=True, tag="keywords:frequency"):
    """How often a keyword occurs, in any case, also inside of other words."""

    keyword: Annotated[str, Meta(min_length=1)]
    relation: Relation
    frequency: Count
    claims = frozenset({"repeat"})
    phrases = (
        "The word {keyword} should appear {relation} {frequency} times.",
        "Use the word {keyword} {relation} {frequency} times.",
    )

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(KEYWORDS[20:]), rng.choice(RELATIONS), rng.randint(1, 4))

    def holds(self, answer: str) -> bool:
        return related(answer.lower().count(self.keyword.lower()), self.relation, self.frequency)

    def guide(self, draft: Draft) -> None:
        if self.relation == "at least":
            draft.mentions[self.keyword] = max(self.frequency, draft.mentions.get(self.keyword, 0))
        elif self.keyword not in draft.mentions:
            draft.avoided.add(self.keyword.lower())


class Forbidden(Instruction, frozen=True, tag="keywords:forbidden_words"):
    """None of the words occurs, in any case, as a whole word."""

    forbidden_words: Words
    claims = frozenset({"avoid"})
    phrases = ("Do not use the words {forbidden_words}.", "The answer must not include any of these words: {forbidden_words}.")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.sample(AVOIDED, rng.randint(1, 3)))

    def holds(self, answer: str) -> bool:
        return not any(re.search(rf"(?<!\w){re.escape(w)}(?!\w)", answer, re.IGNORECASE) for w in self.forbidden_words)

    def guide(self, draft: Draft) -> None:
        draft.avoided.update(w.lower() for w in self.forbidden_words)


class LetterFrequency(Instruction, frozen=True, tag="keywords:letter_frequency"):
    """How often a character occurs, in any case."""

    letter: Character
    let_relation: Relation
    let_frequency: Count
    claims = frozenset({"letter"})
    phrases = ("The letter {letter} should appear {let_relation} {let_frequency} times.",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        relation = rng.choice(RELATIONS)
        return cls(rng.choice("bcfgkmpqvwxyz"), relation, rng.randint(2, 12) if relation == "at least" else rng.randint(2, 4))

    def holds(self, answer: str) -> bool:
        return related(answer.lower().count(self.letter.lower()), self.let_relation, self.let_frequency)

    def guide(self, draft: Draft) -> None:
        if self.let_relation == "at least":
            draft.rich[self.letter.lower()] = self.let_frequency
        else:
            draft.poor.add(self.letter.lower())


class Language(Instruction, frozen=True, tag="language:response_language"):
    """The answer is in one language; see `language.written_in`."""

    language: str
    claims = frozenset({"language", "include", "repeat", "avoid", "letter", "case", "words", "sentences"})
    phrases = ("Your entire answer should be in the language with the code {language}.",)

    def __post_init__(self) -> None:
        if ALIASES.get(self.language, self.language) not in CODES:
            raise ValueError(f"no language {self.language!r} can be told: use one of {', '.join(CODES)}")

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(sorted(NAMES)))

    def sentence(self, rng: random.Random) -> str:
        return f"Write the whole answer in {NAMES[self.language]}; no other language is allowed."

    def holds(self, answer: str) -> bool:
        return written_in(answer, self.language)

    def guide(self, draft: Draft) -> None:
        draft.language = self.language


class CapitalWords(Instruction, frozen=True, tag="change_case:capital_word_frequency"):
    """How many words, as `text.words` counts them, are in capital letters; "I" and "A" are such words, "U.S." is one."""

    capital_relation: Relation
    capital_frequency: Count
    claims = frozenset({"case"})
    phrases = ("Words in all capital letters should appear {capital_relation} {capital_frequency} times.",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        relation = rng.choice(RELATIONS)
        return cls(relation, rng.randint(1, 5) if relation == "at least" else rng.randint(2, 6))

    def holds(self, answer: str) -> bool:
        found = words(_DOT.sub(r"\1", answer))
        return related(sum(map(str.isupper, found)), self.capital_relation, self.capital_frequency)

    def guide(self, draft: Draft) -> None:
        draft.capitals = narrowed(draft.capitals, self.capital_relation, self.capital_frequency)


class EnglishCapital(Instruction, frozen=True, tag="change_case:english_capital"):
    """No small letters, and English."""

    claims = frozenset({"case", "language"})
    phrases = ("Your whole answer should be in English, and in capital letters only.",)

    def holds(self, answer: str) -> bool:
        return answer.isupper() and written_in(answer, "en")

    def guide(self, draft: Draft) -> None:
        draft.case = "upper"


class EnglishLowercase(Instruction, frozen=True, tag="change_case:english_lowercase"):
    """No capital letters, and English."""

    claims = frozenset({"case", "language"})
    phrases = ("Your whole answer should be in English and in lowercase letters; no capital letters are allowed.",)

    def holds(self, answer: str) -> bool:
        return answer.islower() and written_in(answer, "en")

    def guide(self, draft: Draft) -> None:
        draft.case = "lower"


class NoComma(Instruction, frozen=True, tag="punctuation:no_comma"):
    """No commas."""

    claims = frozenset({"commas"})
    phrases = ("Refrain from the use of any commas.", "Do not use any commas in your answer.")

    def holds(self, answer: str) -> bool:
        return "," not in answer

    def guide(self, draft: Draft) -> None:
        draft.avoided.add(",")
