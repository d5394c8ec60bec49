"""Llama 3, as the published chat templates of Llama 3.1 to 3.3 write it: a call is ``{"name": ..., "parameters": {...}}``.

These templates take one call a turn and no words beside it. Parallel calls are written one after the other with a semicolon in
between, as servers read them from these models; the turn is handed to the template as text, which gives single calls the very
form that the template gives them, and others a place too.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym.dialects.base import clean, split_thought, to_text
from agentgym.messages import Message, ToolCall, number_calls, parse_object, to_openai

_TAG = "<|python_tag|>"
_START = re.compile(r'^[ \t]*(?:<\|python_tag\|>\s*)?(?=\{\s*"(?:name|parameters|arguments|type|function)")', re.MULTILINE)
_GAP = re.compile(r"(?:[;\s]|<\|python_tag\|>)*")
_decoder = json.JSONDecoder()


class Llama3:
    """The Llama 3 dialect."""

    name = "llama3"
    stop: tuple[str, ...] = ()
    mark = r'\{"name":\s*"NAME",\s*"parameters"'

    def parse(self, text: str) -> Message:
        """Read words, then calls: JSON objects from the first line on that begins with one of a call's keys."""
        thinking, text, malformed = split_thought(clean(text))
        start = _START.search(text)
        if malformed or (start is None and _TAG not in text):
            return Message("assistant", text.strip(), thinking=thinking, malformed=malformed)
        at = start.start() if start else text.index(_TAG)
        calls, rest = _read(text[at:])
        content = "\n".join(filter(None, (text[:at].strip(), rest)))
        return Message("assistant", content, number_calls(tuple(calls)), thinking=thinking)

    def render(self, message: Message) -> str:
        """Write thoughts, then content, then calls."""
        parts = [f"<think>\n{message.thinking}\n</think>\n"] if message.thinking else []
        parts += [message.content] if message.content else []
        parts += ["; ".join(map(_write, message.tool_calls))] if message.tool_calls else []
        return "\n".join(parts)

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """Tools and results are the template's, turns with calls are texts."""
        out = []
        for m in messages:
            acts = m.role == "assistant" and m.tool_calls
            out.append({"role": "assistant", "content": self.render(m)} if acts else to_openai(m))
        return out, list(tools) or None

    def call_grammar(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """None: a call begins like any JSON that an answer may consist of."""


def _read(text: str) -> tuple[list[ToolCall], str]:
    """The calls that a text begins with, and what stands behind them; an unreadable one takes all the rest."""
    calls: list[ToolCall] = []
    at = _end_of_gap(text, 0)
    while text.startswith("{", at):
        try:
            _, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return [*calls, ToolCall("", None, "", text[at:].strip())], ""
        calls.append(_call(text[at:end]))
        at = _end_of_gap(text, end)
    rest = text[at:].strip()
    return (calls, rest) if calls else ([ToolCall("", None, "", rest)], "")


def _end_of_gap(text: str, at: int) -> int:
    found = _GAP.match(text, at)
    return found.end() if found else at


def _call(raw: str) -> ToolCall:
    data = parse_object(raw) or {}
    data = data["function"] if isinstance(data.get("function"), dict) else data
    name, arguments = data.get("name"), data.get("parameters", data.get("arguments"))
    return ToolCall(name if isinstance(name, str) else "", arguments if isinstance(arguments, dict) else None, "", raw)


def _write(c: ToolCall) -> str:
    return c.raw if c.arguments is None and c.raw else to_text({"name": c.name, "parameters": c.arguments or {}})


LLAMA3 = Llama3()
