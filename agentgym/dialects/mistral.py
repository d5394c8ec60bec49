"""Mistral, as its published tokenizers write it (mistral-common).

==============  ================================================================================
dialect         a call
==============  ================================================================================
``mistral-v3``  ``[TOOL_CALLS][{"name": ..., "arguments": {...}, "id": "abcdefghi"}, ...]`` (tokenizers v3 and v7)
``mistral``     ``[TOOL_CALLS]NAME[ARGS]{...}`` for each call (v11, with ``[CALL_ID]id`` before the arguments, and v13 on)
==============  ================================================================================

Each reads all of these forms.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agentgym.dialects.base import clean, split_thought, to_text
from agentgym.messages import Message, ToolCall, number_calls, parse_object, to_openai

_ID = re.compile(r"[A-Za-z0-9]{9}")
_NEW = re.compile(
    r"\s*(?P<name>[^\[{]*?)\s*(?:\[CALL_ID\]\s*(?P<id>[A-Za-z0-9]*)\s*)?(?:\[ARGS\]|(?=\{))(?P<arguments>.*)", re.DOTALL
)
_CALLS = "[TOOL_CALLS]"


class Mistral:
    """The Mistral dialects.

    Args:
        listed: True for the form of v3 and v7, where all calls are one JSON list.
    """

    stop: tuple[str, ...] = ()

    def __init__(self, *, listed: bool = False) -> None:
        self.listed = listed
        self.name = "mistral-v3" if listed else "mistral"
        self.mark = r'\[TOOL_CALLS\]\s*\[\{"name":\s*"NAME"' if listed else r"\[TOOL_CALLS\]NAME\["

    def parse(self, text: str) -> Message:
        """Read thoughts, content and calls; an unreadable call stays a call, with `arguments` None and its raw text."""
        thinking, text, malformed = split_thought(clean(text), "[THINK]", "[/THINK]")
        if not malformed and not thinking:
            thinking, text, malformed = split_thought(text)
        if malformed:
            return Message("assistant", text.strip(), malformed=malformed)
        content, *parts = text.split(_CALLS)
        calls = [c for part in parts for c in _read(part.strip())]
        return Message("assistant", content.strip(), number_calls(tuple(calls)), thinking=thinking)

    def render(self, message: Message) -> str:
        """Write thoughts, then content, then calls."""
        thought = f"[THINK]{message.thinking}[/THINK]" if message.thinking else ""
        if not self.listed:
            return thought + message.content + "".join(f"{_CALLS}{_write(c)}" for c in message.tool_calls)
        unreadable = [c.raw for c in message.tool_calls if c.arguments is None and c.raw]
        listed = [
            {"name": c.name, "arguments": c.arguments or {}, "id": c.id} for c in message.tool_calls if not c.raw or c.arguments
        ]
        written = [to_text(listed)] if listed else []
        return thought + message.content + "".join(f"{_CALLS}{part}" for part in written + unreadable)

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """As they are; a turn that the templates refuse (without a word, or in v3 with words beside calls) is put into words."""
        out = []
        for m in messages:
            plain = to_openai(m)
            if m.role == "assistant" and (not (m.content or m.tool_calls) or (self.listed and m.content and m.tool_calls)):
                plain = {"role": "assistant", "content": self.render(msgspec.structs.replace(m, thinking="")) or " "}
            out.append(plain)
        return out, list(tools) or None

    def call_grammar(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """None: what opens a call is a control token, which sampling cannot be held to as text."""


def _read(part: str) -> list[ToolCall]:
    """The calls behind one opening."""
    if part.startswith("["):
        try:
            items = msgspec.json.decode(part)
        except (msgspec.DecodeError, RecursionError):
            items = None
        if isinstance(items, list) and items:
            return [_listed(item) for item in items]
        return [ToolCall("", None, "", part)]
    found = _NEW.fullmatch(part)
    if found is None:
        return [ToolCall("", None, "", part)]
    given = found["id"] or ""
    return [ToolCall(found["name"], parse_object(found["arguments"].strip()), given if _ID.fullmatch(given) else "", part)]


def _listed(item: Any) -> ToolCall:
    data = item if isinstance(item, dict) else {}
    name, arguments, given = data.get("name"), data.get("arguments"), data.get("id")
    return ToolCall(
        name if isinstance(name, str) else "",
        arguments if isinstance(arguments, dict) else None,
        given if isinstance(given, str) and _ID.fullmatch(given) else "",
        to_text([item]),
    )


def _write(c: ToolCall) -> str:
    return c.raw if c.arguments is None and c.raw else f"{c.name}[ARGS]{to_text(c.arguments or {})}"


MISTRAL = Mistral()
MISTRAL_V3 = Mistral(listed=True)
