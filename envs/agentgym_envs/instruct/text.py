"""What counts as a word, a sentence, a line and a paragraph; all constraints use these definitions."""

import re

# Starts with a letter, so that the "1." of a numbered list is no word; "don't" and "long-lost" are one word each.
WORD = re.compile(r"[^\W\d_][^\W_]*(?:['\u2019-][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)]*\s+")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


def words(text: str) -> list[str]:
    """The words of `text` in order, as they are written."""
    return WORD.findall(text)


def folded(text: str) -> list[str]:
    """The words of `text` without regard to case: ``[word, ...]``."""
    return WORD.findall(text.casefold())


def sentences(text: str) -> list[str]:
    """The pieces between ``.``, ``!`` or ``?`` at the end of a word; a last piece without such an end counts too."""
    return [s for s in _SENTENCE_END.split(text) if words(s)]


def lines(text: str) -> list[str]:
    """The lines that are not blank, without the white space around them."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def paragraphs(text: str) -> list[str]:
    """The pieces between blank lines."""
    return [p for p in _BLANK_LINE.split(text) if p.strip()]
