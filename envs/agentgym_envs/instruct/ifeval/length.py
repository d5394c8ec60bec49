"""Instructions on length."""
# ruff: noqa: D102  (`Demand` documents the methods)

import random
import re
from typing import Annotated, Self

from msgspec import Meta

from agentgym_envs.instruct.constraints.base import Count
from agentgym_envs.instruct.ifeval.base import Draft, Instruction, Relation, narrowed, related
from agentgym_envs.instruct.text import sentences, tokens
from agentgym_envs.instruct.vocabulary import KEYWORDS

_FIRST_WORD = re.compile(r"[^.,?!'\"]*")  # of what has no white space


class NumberSentences(Instruction, frozen=True, tag="length_constraints:number_sentences"):
    """How many sentences, as `text.sentences` counts them; IFEval's tokenizer was learnt from data."""

    relation: Relation
    num_sentences: Count
    claims = frozenset({"sentences"})
    phrases = ("Your answer should contain {relation} {num_sentences} sentences.",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        relation: Relation = rng.choice(("at least", "less than"))
        return cls(relation, rng.randint(2, 12) if relation == "at least" else rng.randint(6, 12))

    def holds(self, answer: str) -> bool:
        return related(len(sentences(answer)), self.relation, self.num_sentences)

    def guide(self, draft: Draft) -> None:
        draft.sentences = narrowed(draft.sentences, self.relation, self.num_sentences)


class NumberWords(Instruction, frozen=True, tag="length_constraints:number_words"):
    """How many words, as `text.tokens` counts them."""

    relation: Relation
    num_words: Count
    claims = frozenset({"words"})
    phrases = ("Answer with {relation} {num_words} words.",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        relation: Relation = rng.choice(("at least", "less than"))
        return cls(relation, rng.randint(20, 120) if relation == "at least" else rng.randint(80, 160))

    def holds(self, answer: str) -> bool:
        return related(len(tokens(answer)), self.relation, self.num_words)

    def guide(self, draft: Draft) -> None:
        draft.words = narrowed(draft.words, self.relation, self.num_words)


class NumberParagraphs(Instruction, frozen=True, tag="length_constraints:number_paragraphs"):
    """How many paragraphs stand between ``***``; only the first and the last piece may be empty, and do not count then."""

    num_paragraphs: Count
    claims = frozenset({"layout"})
    phrases = ("There should be {num_paragraphs} paragraphs, separated with the markdown divider: ***",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 5))

    def holds(self, answer: str) -> bool:
        pieces = [bool(p.strip()) for p in answer.split("***")]
        return all(pieces[1:-1]) and sum(pieces) == self.num_paragraphs

    def guide(self, draft: Draft) -> None:
        draft.paragraphs = self.num_paragraphs


class FirstWord(Instruction, frozen=True, tag="length_constraints:nth_paragraph_first_word"):
    """How many paragraphs stand between blank lines, and with which word, in any case, one of them begins.

    Here empty paragraphs have no number; as published they have one, and yet do not count.
    """

    num_paragraphs: Count
    nth_paragraph: Count
    first_word: Annotated[str, Meta(min_length=1)]
    claims = frozenset({"layout"})
    phrases = (
        "There should be {num_paragraphs} paragraphs, separated by two line breaks and by nothing else. "
        "Paragraph {nth_paragraph} must start with the word {first_word}.",
    )

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        number = rng.randint(2, 5)
        return cls(number, rng.randint(1, number), rng.choice(KEYWORDS))

    def holds(self, answer: str) -> bool:
        found = [p for p in answer.split("\n\n") if p.strip()]
        if len(found) != self.num_paragraphs or self.nth_paragraph > len(found):
            return False
        word = found[self.nth_paragraph - 1].split(maxsplit=1)[0].lstrip("'").lstrip('"')
        return _FIRST_WORD.match(word)[0].lower() == self.first_word.lower()  # type: ignore[index]  # it matches everything

    def guide(self, draft: Draft) -> None:
        draft.first = (self.num_paragraphs, self.nth_paragraph, self.first_word)
