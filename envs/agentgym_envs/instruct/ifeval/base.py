"""What the 25 types of instructions have in common, and the draft through which they guide the oracle's writer."""

from typing import Literal

import msgspec

from agentgym_envs.instruct.constraints.base import Demand

Relation = Literal["at least", "less than"]
MANY = 10**6


class Draft(msgspec.Struct):
    """What the writer observes; each instruction sets the fields that concern it.

    Attributes:
        language: Code of the language to write in.
        words: The fewest words and the most.
        sentences: The same of sentences.
        capitals: The same of words in capital letters.
        mentions: Words to use, and how often.
        avoided: Texts that must not occur.
        rich: Characters to use, and how often.
        poor: Characters to use as rarely as it can be done.
        paragraphs: How many stand between ``***``; 0 for no such dividers.
        first: How many paragraphs stand between blank lines, the number of one of them, and its first word.
        sections: What sections begin with, and how many there are.
        bullets: How many bullet points there are.
        highlights: How many parts are highlighted.
        placeholders: How many placeholders in square brackets there are.
        two: Whether there are two answers.
        titled: Whether there is a title.
        json: Whether the whole is JSON.
        quoted: Whether the whole stands in double quotation marks.
        repeat: What the answer begins with.
        choice: A sentence that has to be said.
        postscript: What a postscript begins with.
        ending: The last words.
        case: "upper", "lower" or neither.
    """

    language: str = "en"
    words: tuple[int, int] = (0, MANY)
    sentences: tuple[int, int] = (0, MANY)
    capitals: tuple[int, int] = (0, MANY)
    mentions: dict[str, int] = {}
    avoided: set[str] = set()
    rich: dict[str, int] = {}
    poor: set[str] = set()
    paragraphs: int = 0
    first: tuple[int, int, str] | None = None
    sections: tuple[str, int] = ("", 0)
    bullets: int = 0
    highlights: int = 0
    placeholders: int = 0
    two: bool = False
    titled: bool = False
    json: bool = False
    quoted: bool = False
    repeat: str = ""
    choice: str = ""
    postscript: str = ""
    ending: str = ""
    case: Literal["", "upper", "lower"] = ""


class Instruction(Demand, frozen=True):
    """A verifiable instruction: its kind is the published id, its fields are the published arguments."""

    def guide(self, draft: Draft) -> None:
        """Set what the writer has to observe."""
        raise NotImplementedError


def related(found: int, relation: Relation, number: int) -> bool:
    """Whether what was counted is "at least" or "less than" a number."""
    return found >= number if relation == "at least" else found < number


def narrowed(span: tuple[int, int], relation: Relation, number: int) -> tuple[int, int]:
    """The fewest and the most of something, with one more condition."""
    least, most = span
    return (max(least, number), most) if relation == "at least" else (least, min(most, number - 1))
