"""The rubric: pieces, from Python values or a JSON file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from agentgym import UserError

from .base import Piece
from .judged import Absolute, Axes, Pairwise, Principles
from .reward import RewardModel
from .verifiable import Checks, Format, Length

AnyPiece = Checks | Format | Length | Absolute | Pairwise | Axes | Principles | RewardModel


def read_rubric(given: str | Sequence[Any]) -> list[Piece]:
    """The pieces of a rubric, each opened.

    Args:
        given: Pieces as mappings with their ``kind``, or a JSON file with a list of them.

    Raises:
        UserError: there is no such file, kind, option or model, two pieces have the same name, or none counts.
    """
    pieces: list[Piece] = list(_converted(_read(given) if isinstance(given, str) else given))
    names = [p.called for p in pieces]
    if twice := [n for n in names if names.count(n) > 1]:
        raise UserError(f"the rubric has two pieces called {twice[0]!r}: give each a name of its own")
    if not sum(p.weight for p in pieces):
        raise UserError("nothing in the rubric counts: give a piece a weight above 0")
    for piece in pieces:
        piece.open()
    return pieces


def _read(path: str) -> Any:
    try:
        return msgspec.json.decode(Path(path).read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"there is no rubric {path} ({error}): give a JSON file, or the list of pieces itself") from error


def _converted(given: Any) -> list[AnyPiece]:
    try:
        return msgspec.convert(given, list[AnyPiece])
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(
            f"this is no rubric ({error}): it is a list of pieces, such as {{'kind': 'length', 'most': 200}}"
        ) from error
