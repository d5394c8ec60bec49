"""Instructions on the form of the answer: its parts, how it begins and how it ends."""
# ruff: noqa: D102  (`Demand` documents the methods)

import json
import random
import re
from typing import Annotated, Self

from msgspec import Meta

from agentgym_envs.instruct.constraints.base import Count
from agentgym_envs.instruct.ifeval.base import Draft, Instruction
from agentgym_envs.instruct.vocabulary import ADJECTIVES, ENDINGS, REQUESTS, TOPICS

CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
# Each takes time in proportion to the answer's length, whatever the answer is.
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]*\]")
_HIGHLIGHT = re.compile(r"\*([^\n*]*)\*")
_DOUBLE = re.compile(r"\*\*([^\n*]*)\*\*")
_FENCE = re.compile(r"\A```(?:json)?", re.IGNORECASE)
_POSTSCRIPTS = {"P.P.S": re.compile(r"p\.\s?p\.\s?s"), "P.S.": re.compile(r"p\.\s?s\.")}
Text = Annotated[str, Meta(min_length=1)]


class Placeholders(Instruction, frozen=True, tag="detectable_content:number_placeholders"):
    """At least so many placeholders in square brackets, each on one line."""

    num_placeholders: Count
    claims = frozenset({"placeholders"})
    phrases = ("Include at least {num_placeholders} placeholders in square brackets, such as [address].",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(1, 5))

    def holds(self, answer: str) -> bool:
        return len(_PLACEHOLDER.findall(answer)) >= self.num_placeholders

    def guide(self, draft: Draft) -> None:
        draft.placeholders = self.num_placeholders


class Postscript(Instruction, frozen=True, tag="detectable_content:postscript"):
    """The postscript's marker occurs, in any case; "P. S." will do for "P.S."."""

    postscript_marker: Text
    claims = frozenset({"ending"})
    phrases = ("At the end of your answer, please add a postscript that starts with {postscript_marker}",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(sorted(_POSTSCRIPTS)))

    def holds(self, answer: str) -> bool:
        pattern = _POSTSCRIPTS.get(self.postscript_marker) or re.compile(re.escape(self.postscript_marker.lower()))
        return bool(pattern.search(answer.lower()))

    def guide(self, draft: Draft) -> None:
        draft.postscript = self.postscript_marker


class Bullets(Instruction, frozen=True, tag="detectable_format:number_bullet_lists"):
    """Exactly so many lines that begin with ``*`` (and not ``**``) or ``-``."""

    num_bullets: Count
    claims = frozenset({"bullets"})
    phrases = ("Your answer must contain exactly {num_bullets} bullet points in markdown, such as: * This is a point.",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(1, 5))

    def holds(self, answer: str) -> bool:
        starts = [line.lstrip()[:2] for line in answer.split("\n")]
        return sum(s[:1] == "-" or (len(s) == 2 and s[0] == "*" != s[1]) for s in starts) == self.num_bullets

    def guide(self, draft: Draft) -> None:
        draft.bullets = self.num_bullets


class Constrained(Instruction, frozen=True, tag="detectable_format:constrained_response"):
    """One of the three sentences of `CHOICES` is said."""

    claims = frozenset({"layout", "case", "choice", "language"})
    phrases = (f"Answer with one of the following options: {', '.join(CHOICES)}",)

    def holds(self, answer: str) -> bool:
        return any(choice in answer for choice in CHOICES)

    def guide(self, draft: Draft) -> None:
        draft.choice = CHOICES[0]


class Highlights(Instruction, frozen=True, tag="detectable_format:number_highlighted_sections"):
    """At least so many parts, each on one line, between single or double asterisks."""

    num_highlights: Count
    claims = frozenset({"highlights"})
    phrases = ("Highlight at least {num_highlights} sections in your answer with markdown, i.e. *highlighted section*.",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(1, 4))

    def holds(self, answer: str) -> bool:
        found = [*_HIGHLIGHT.findall(answer), *_DOUBLE.findall(answer)]
        return sum(bool(h.strip()) for h in found) >= self.num_highlights

    def guide(self, draft: Draft) -> None:
        draft.highlights = self.num_highlights


class Sections(Instruction, frozen=True, tag="detectable_format:multiple_sections"):
    """At least so many places where the marker is followed by a number; case matters."""

    section_spliter: Text
    num_sections: Count
    claims = frozenset({"layout", "case"})
    phrases = ("Your answer must have {num_sections} sections. Mark the beginning of each section with {section_spliter} X.",)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(("Section", "SECTION", "Day", "PARAGRAPH")), rng.randint(2, 5))

    def holds(self, answer: str) -> bool:
        return len(re.findall(rf"{re.escape(self.section_spliter)}\s?\d+", answer)) >= self.num_sections

    def guide(self, draft: Draft) -> None:
        draft.sections = (self.section_spliter, self.num_sections)


class Json(Instruction, frozen=True, tag="detectable_format:json_format"):
    """JSON and nothing else, but for the marks of a block of code around it."""

    claims = frozenset({"layout", "quoted", "ending", "repeat_prompt", "bullets", "language", "choice"})
    phrases = ("The entire output should be wrapped in JSON format.",)

    def holds(self, answer: str) -> bool:
        text = _FENCE.sub("", answer.strip()).removesuffix("```").strip()
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
        return True

    def guide(self, draft: Draft) -> None:
        draft.json = True


class Title(Instruction, frozen=True, tag="detectable_format:title"):
    """A title in double angular brackets, somewhere on one line."""

    claims = frozenset({"title"})
    phrases = ("Your answer must contain a title, wrapped in double angular brackets, such as <<poem of joy>>.",)

    def holds(self, answer: str) -> bool:
        return any(map(_titled, answer.split("\n")))

    def guide(self, draft: Draft) -> None:
        draft.titled = True


class TwoResponses(Instruction, frozen=True, tag="combination:two_responses"):
    """Two different answers with ``******`` between them."""

    claims = frozenset({"layout", "quoted"})
    phrases = ("Give two different responses. Responses and only responses should be separated by 6 asterisk symbols: ******.",)

    def holds(self, answer: str) -> bool:
        parts = [p.strip() for p in answer.split("******")]
        found = [p for p in parts if p]
        return len(found) == 2 and all(parts[1:-1]) and found[0] != found[1]

    def guide(self, draft: Draft) -> None:
        draft.two = True


class RepeatPrompt(Instruction, frozen=True, tag="combination:repeat_prompt"):
    """The answer begins with the request, in any case."""

    prompt_to_repeat: Text
    claims = frozenset({"layout", "quoted", "repeat_prompt", "language"})
    phrases = (
        "First repeat the request above word for word without change, then give your answer. "
        "Do not say any words or characters before repeating it.",
    )

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(REQUESTS).format(topic=f"{rng.choice(ADJECTIVES)} {rng.choice(TOPICS)}"))

    def holds(self, answer: str) -> bool:
        return answer.strip().lower().startswith(self.prompt_to_repeat.strip().lower())

    def guide(self, draft: Draft) -> None:
        draft.repeat = self.prompt_to_repeat


class End(Instruction, frozen=True, tag="startend:end_checker"):
    """The answer ends with the phrase, in any case; quotation marks around the answer do not matter."""

    end_phrase: Text
    claims = frozenset({"ending"})
    phrases = ('Finish your answer with this exact phrase: "{end_phrase}" No other words should follow it.',)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(ENDINGS))

    def holds(self, answer: str) -> bool:
        return answer.strip().strip('"').lower().endswith(self.end_phrase.strip().lower())

    def guide(self, draft: Draft) -> None:
        draft.ending = self.end_phrase


class Quotation(Instruction, frozen=True, tag="startend:quotation"):
    """The answer begins and ends with a double quotation mark."""

    claims = frozenset({"quoted"})
    phrases = ("Wrap your entire answer with double quotation marks.",)

    def holds(self, answer: str) -> bool:
        text = answer.strip()
        return len(text) > 1 and text[0] == text[-1] == '"'

    def guide(self, draft: Draft) -> None:
        draft.quoted = True


def _titled(line: str) -> bool:
    """Between the first opening brackets of the line and the last closing ones is more than brackets and blanks."""
    start, end = line.find("<<"), line.rfind(">>")
    return 0 <= start < end and bool(line[start:end].lstrip("<").rstrip(">").strip())
