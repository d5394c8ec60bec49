"""DeepSeek, as its published chat templates write it.

===============  ==================================================================================================
dialect          a call, between ``<｜tool▁calls▁begin｜>`` and ``<｜tool▁calls▁end｜>``
===============  ==================================================================================================
``deepseek-v3``  ``<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME``, a JSON code block, ``<｜tool▁call▁end｜>`` (V3, R1)
``deepseek``     ``<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜>`` (V3.1 on)
===============  ==================================================================================================

Each reads both forms. The templates show no tools and write a second turn of calls otherwise than the first one: tools stand in
the system message here, as the model cards advise, and turns with calls are handed to the template as texts in this very form.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym.dialects.base import clean, split_thought, to_text, with_system
from agentgym.messages import Message, ToolCall, number_calls, parse_object, to_openai

OPEN, CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
BEGIN, SEP, END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_BLOCK = re.compile(f"{BEGIN}(.*?)(?:{END}|(?={BEGIN})|(?={CLOSE})|\\Z)", re.DOTALL)
_FENCED = re.compile(r"(?P<name>[^\n]*)\n```(?:json)?\n(?P<arguments>.*?)\n?```\s*", re.DOTALL)
_PROMPT = """## Tools
You have access to the following tools:
{tools}
To use them, answer in exactly this form:
{form}"""


class DeepSeek:
    """The DeepSeek dialects.

    Args:
        fenced: True for the form of V3 and R1, whose arguments stand in a code block.
    """

    stop: tuple[str, ...] = ()

    def __init__(self, *, fenced: bool = False) -> None:
        self.fenced = fenced
        self.name = "deepseek-v3" if fenced else "deepseek"
        self.mark = f"{BEGIN}function{SEP}NAME" if fenced else f"{BEGIN}NAME{SEP}"

    def parse(self, text: str) -> Message:
        """Read thoughts, content and calls; an unreadable call stays a call, with `arguments` None and its raw text."""
        thinking, text, malformed = split_thought(clean(text))
        if malformed:
            return Message("assistant", text.strip(), malformed=malformed)
        start = min((i for i in (text.find(OPEN), text.find(BEGIN)) if i >= 0), default=len(text))
        calls = [_read(raw) for raw in _BLOCK.findall(text[start:])]
        if text[start:] and not calls:
            calls = [ToolCall("", None, "", text[start:].strip())]
        return Message("assistant", text[:start].strip(), number_calls(tuple(calls)), thinking=thinking)

    def render(self, message: Message) -> str:
        """Write thoughts, then content, then calls."""
        thought = f"<think>\n{message.thinking}\n</think>\n\n" if message.thinking else ""
        if not message.tool_calls:
            return thought + message.content
        calls = ("\n" if self.fenced else "").join(f"{BEGIN}{self._write(c)}{END}" for c in message.tool_calls)
        return f"{thought}{message.content}{OPEN}{calls}{CLOSE}"

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """Results are the template's; tools stand in the system message, and turns with calls are texts."""
        out = []
        for m in messages:
            acts = m.role == "assistant" and m.tool_calls
            out.append({"role": "assistant", "content": self.render(m)} if acts else to_openai(m))
        if tools:
            shown = "\n\n".join(_shown(t["function"]) for t in tools)
            form = OPEN + BEGIN + self._write(ToolCall("NAME", {"argument": "value"})) + END + CLOSE
            out = with_system(out, _PROMPT.format(tools=shown, form=form))
        return out, None

    def call_grammar(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """None: what opens a call is a control token, which sampling cannot be held to as text."""

    def _write(self, c: ToolCall) -> str:
        if c.arguments is None and c.raw:
            return c.raw
        arguments = to_text(c.arguments or {})
        return f"function{SEP}{c.name}\n```json\n{arguments}\n```" if self.fenced else f"{c.name}{SEP}{arguments}"


def _read(raw: str) -> ToolCall:
    name, sep, arguments = raw.partition(SEP)
    if not sep:
        return ToolCall("", None, "", raw)
    if fenced := _FENCED.fullmatch(arguments):
        name, arguments = fenced["name"], fenced["arguments"]
    return ToolCall(name.strip(), parse_object(arguments.strip()), "", raw)


def _shown(function: Mapping[str, Any]) -> str:
    return f"### {function['name']}\nDescription: {function['description']}\n\nParameters: {to_text(function['parameters'])}"


DEEPSEEK = DeepSeek()
DEEPSEEK_V3 = DeepSeek(fenced=True)
