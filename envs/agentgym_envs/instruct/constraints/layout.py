"""How the answer is laid out."""
# ruff: noqa: D102  (`Constraint` documents the methods)

import json
import random
import re
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, Self

from agentgym.messages import parse_object
from agentgym_envs.instruct.constraints.base import Blocks, Constraint, Count, Plan
from agentgym_envs.instruct.text import lines, words

_TITLE = re.compile(r"<<([^<>\n]+)>>")
TEXTS = ("string", "array of strings")
Type = Literal["string", "array of strings", "integer", "boolean"]
KEYS: dict[str, Type] = {
    "summary": "string",
    "description": "string",
    "review": "string",
    "rating": "integer",
    "visits": "integer",
    "year": "integer",
    "popular": "boolean",
    "recommended": "boolean",
    "facts": "array of strings",
    "remarks": "array of strings",
}


class Bullets(Constraint, frozen=True, tag="bullets"):
    """A list of `n` bullet points and nothing else."""

    n: Count
    claims = frozenset({"layout", "opening"})
    phrases = (
        'Answer with a list of exactly {n} bullet points and nothing else; each is a line that begins with "- ".',
        'Write {n} bullet points, one on each line, every line beginning with "- ".',
    )

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 5))

    def holds(self, answer: str) -> bool:
        return _is_list(answer, ["- "] * self.n)

    def guide(self, plan: Plan) -> None:
        plan.blocks, plan.layout = self.n, partial(_listed, ["- "] * self.n)


class Numbered(Constraint, frozen=True, tag="numbered"):
    """A list of `n` items numbered from 1 and nothing else."""

    n: Count
    claims = frozenset({"layout", "opening"})
    phrases = (
        'Answer with a numbered list of exactly {n} items and nothing else; the lines begin with "1. ", "2. " and so on.',
        'Write {n} lines and number them: the first begins with "1. ", the next with "2. " and so on.',
    )

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 5))

    def holds(self, answer: str) -> bool:
        return _is_list(answer, self._marks())

    def guide(self, plan: Plan) -> None:
        plan.blocks, plan.layout = self.n, partial(_listed, self._marks())

    def _marks(self) -> list[str]:
        return [f"{i + 1}. " for i in range(self.n)]


class Quoted(Constraint, frozen=True, tag="quoted"):
    """The whole answer stands in double quotation marks, and there are no others."""

    claims = frozenset({"opening", "ending"})
    phrases = (
        "Put the whole answer in one pair of double quotation marks.",
        "Wrap the entire answer in double quotation marks and use none inside.",
    )

    def holds(self, answer: str) -> bool:
        return answer[:1] == answer[-1:] == '"' and answer.count('"') == 2

    def guide(self, plan: Plan) -> None:
        plan.finish.append('"{}"'.format)


class Title(Constraint, frozen=True, tag="title"):
    """The first line is a title in double angle brackets, and text follows."""

    claims = frozenset({"layout", "opening"})
    phrases = (
        "Begin with a line that holds nothing but a title in double angle brackets, such as <<Title>>.",
        "Put a title above the text, on a line of its own and written like this: <<Title>>.",
    )

    def holds(self, answer: str) -> bool:
        first, _, rest = answer.partition("\n")
        title = _TITLE.fullmatch(first.strip())
        return bool(title and words(title[1]) and words(rest))

    def guide(self, plan: Plan) -> None:
        plan.titled = True


class Json(Constraint, frozen=True, tag="json"):
    """One JSON object that has exactly these keys, with values of these types; no text is empty."""

    keys: dict[str, Type]
    claims = frozenset({"layout", "opening", "ending", "words", "case", "commas"})
    phrases = (
        "Answer with one JSON object and nothing else. It has exactly these keys: {keys}.",
        "The answer must be a JSON object, without any text around it, with the keys {keys} and no others.",
    )

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        text = rng.choice([k for k, kind in KEYS.items() if kind == "string"])  # somewhere has to be something to read
        others = rng.sample([k for k in KEYS if k != text], rng.randint(1, 3))
        return cls({k: KEYS[k] for k in (text, *others)})

    def holds(self, answer: str) -> bool:
        found = parse_object(answer)
        return found is not None and found.keys() == self.keys.keys() and all(_is(found[k], t) for k, t in self.keys.items())

    def guide(self, plan: Plan) -> None:
        plan.blocks = max(1, sum(kind in TEXTS for kind in self.keys.values()))
        plan.layout = partial(self._write, plan.rng)

    def _write(self, rng: random.Random, blocks: Blocks) -> str:
        left = iter(blocks)
        value: dict[str, Any] = {}
        for key, kind in self.keys.items():
            if kind == "string":
                value[key] = " ".join(next(left))
            elif kind == "array of strings":
                value[key] = next(left)
            else:
                value[key] = rng.randint(1, 10) if kind == "integer" else rng.random() < 0.5
        return json.dumps(value)


def _is_list(answer: str, marks: list[str]) -> bool:
    found = lines(answer)
    return len(found) == len(marks) and all(
        line.startswith(mark) and bool(words(line)) for line, mark in zip(found, marks, strict=True)
    )


def _listed(marks: Iterable[str], blocks: Blocks) -> str:
    return "\n".join(mark + " ".join(block) for mark, block in zip(marks, blocks, strict=True))


def _is(value: object, kind: Type) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    texts = [value] if kind == "string" else value
    return isinstance(texts, list) and bool(texts) and all(isinstance(t, str) and bool(words(t)) for t in texts)
