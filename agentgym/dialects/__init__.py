"""Dialects by name, and the choice of one for a tokenizer."""

from agentgym.dialects.base import CallGrammar, Dialect
from agentgym.dialects.hermes import HERMES, HERMES_TEXT
from agentgym.dialects.react import REACT
from agentgym.errors import UserError

DIALECTS: dict[str, Dialect] = {d.name: d for d in (HERMES, HERMES_TEXT, REACT)}


def dialect(name: str) -> Dialect:
    """The dialect of this name.

    Raises:
        UserError: there is none.
    """
    if name not in DIALECTS:
        raise UserError(f"there is no dialect {name!r}: use one of {', '.join(DIALECTS)}")
    return DIALECTS[name]


__all__ = ["DIALECTS", "HERMES", "HERMES_TEXT", "REACT", "CallGrammar", "Dialect", "dialect"]
