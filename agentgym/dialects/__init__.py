"""Dialects by name, and those among them that chat templates speak."""

from agentgym.dialects.base import CallGrammar, Dialect
from agentgym.dialects.code import CODE
from agentgym.dialects.deepseek import DEEPSEEK, DEEPSEEK_V3
from agentgym.dialects.hermes import HERMES, HERMES_TEXT
from agentgym.dialects.llama import LLAMA3
from agentgym.dialects.mistral import MISTRAL, MISTRAL_V3
from agentgym.dialects.react import REACT
from agentgym.errors import UserError

NATIVE: tuple[Dialect, ...] = (HERMES, LLAMA3, MISTRAL, MISTRAL_V3, DEEPSEEK, DEEPSEEK_V3)
DIALECTS: dict[str, Dialect] = {d.name: d for d in (*NATIVE, HERMES_TEXT, REACT, CODE)}


def dialect(name: str) -> Dialect:
    """The dialect of this name.

    Raises:
        UserError: there is none.
    """
    if name not in DIALECTS:
        raise UserError(f"there is no dialect {name!r}: use one of {', '.join(DIALECTS)}")
    return DIALECTS[name]


__all__ = [
    "CODE",
    "DEEPSEEK",
    "DEEPSEEK_V3",
    "DIALECTS",
    "HERMES",
    "HERMES_TEXT",
    "LLAMA3",
    "MISTRAL",
    "MISTRAL_V3",
    "NATIVE",
    "REACT",
    "CallGrammar",
    "Dialect",
    "dialect",
]
