"""What counts as a word, a sentence, a line and a paragraph; all constraints use these definitions."""

import re

# Starts with a letter, so that the "1." of a numbered list is no word; "don't" and "long-lost" are one word each.
WORD = re.compile(r"[^\W\d_][^\W_]*(?:['\u2019-][^\W_]+)*")
_TOKEN = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)]*\s+")
# A full stop after these ends no sentence: titles, initials (but for "I"), "U.S.", "P.S."; "etc." often ends one.
_ABBREVIATED = re.compile(r"(?:^|[\s(\"'])(?:(?:Mr|Mrs|Ms|Dr|Prof|St|vs|cf|e\.g|i\.e)\.|(?!I\.$)(?:[A-Z]\.)+)$")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


def words(text: str) -> list[str]:
    """The words of `text` in order, as they are written."""
    return WORD.findall(text)


def folded(text: str) -> list[str]:
    """The words of `text` without regard to case: ``[word, ...]``."""
    return WORD.findall(text.casefold())


def tokens(text: str) -> list[str]:
    """The runs of letters, digits and underscores: "don't" is two, "3.5" too. What IFEval calls words."""
    return _TOKEN.findall(text)


def sentences(text: str) -> list[str]:
    """The pieces between ``.``, ``!`` or ``?`` at the end of a word; a last piece without such an end counts too.

    A line's end is no sentence's end. Pieces without a word ("1.") do not count, abbreviations end nothing.
    """
    found: list[str] = []
    goes_on = False
    for piece in _SENTENCE_END.split(text):
        if not words(piece):
            continue
        found[-1:] = [f"{found[-1]} {piece}"] if goes_on else [*found[-1:], piece]
        goes_on = _ABBREVIATED.search(piece[-8:]) is not None
    return found


def lines(text: str) -> list[str]:
    """The lines that are not blank, without the white space around them."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def paragraphs(text: str) -> list[str]:
    """The pieces between blank lines."""
    return [p for p in _BLANK_LINE.split(text) if p.strip()]
