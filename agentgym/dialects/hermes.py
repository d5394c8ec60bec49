"""Hermes, as Qwen writes it: ``<think>...</think>`` and ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym.dialects.base import CallGrammar, clean, join_user, split_thought, to_text, with_system
from agentgym.messages import Message, ToolCall, number_calls, parse_object, to_openai
from agentgym.tools import to_json

_BLOCK = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_TAGS = ("<tool_call>", "</tool_call>", "<think>", "</think>")
_PROMPT = """You may call tools. They are described here, one JSON schema a line:
<tools>
{tools}
</tools>
To call one, write a JSON object inside these tags:
<tool_call>
{{"name": "...", "arguments": {{...}}}}
</tool_call>"""


class Hermes:
    """The Hermes dialect.

    Args:
        native: True when the chat template itself writes tools, calls and results (Qwen's does); otherwise they are put
            into the system message and the texts, so that the dialect works with any chat template.
    """

    stop: tuple[str, ...] = ()

    def __init__(self, *, native: bool = True) -> None:
        self.native = native
        self.name = "hermes" if native else "hermes-text"
        self.mark = r'<tool_call>\s*\{"name":\s*"NAME"' if native else ""

    def parse(self, text: str) -> Message:
        """Read thoughts, calls and content; an unreadable call stays a call, with `arguments` None and its raw text."""
        text = clean(text)
        thinking, text, malformed = split_thought(text)
        if malformed:
            return Message("assistant", text.strip(), malformed=malformed)
        if "<tool_call>" not in text:
            return Message("assistant", text.strip(), thinking=thinking)
        calls = tuple(_read_call(raw) for raw in _BLOCK.findall(text))
        return Message("assistant", _BLOCK.sub("", text).strip(), number_calls(calls), thinking=thinking)

    def render(self, message: Message) -> str:
        """Write thoughts, then content, then calls."""
        parts = [f"<think>\n{message.thinking}\n</think>\n"] if message.thinking else []
        parts += [message.content] if message.content else []
        parts += [f"<tool_call>\n{_write_call(c)}\n</tool_call>" for c in message.tool_calls]
        return "\n".join(parts)

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """As they are for a native template; otherwise as plain texts."""
        if self.native:
            return [to_openai(m) for m in messages], list(tools) or None
        out: list[dict[str, Any]] = []
        for m in messages:
            if m.role == "tool":
                out = join_user(out, f"<tool_response>\n{m.content}\n</tool_response>")
            elif m.role == "assistant":
                out.append({"role": "assistant", "content": self.render(m)})
            else:
                out.append({"role": m.role, "content": m.content})
        if tools:
            out = with_system(out, _PROMPT.format(tools="\n".join(map(to_json, tools))))
        return out, None

    def call_grammar(self, tools: Sequence[Mapping[str, Any]]) -> list[CallGrammar]:
        """One JSON object between the tags, the name before the arguments, as the prompts show it."""
        return [CallGrammar("<tool_call>\n", _call_schema(t["function"]), "\n</tool_call>", "<tool_call>", _TAGS) for t in tools]


def _read_call(raw: str) -> ToolCall:
    data = parse_object(raw.strip()) or {}
    name, arguments = data.get("name"), data.get("arguments")
    return ToolCall(name if isinstance(name, str) else "", arguments if isinstance(arguments, dict) else None, "", raw.strip())


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = dict(function["parameters"])
    definitions = arguments.pop("$defs", None)  # references start at the root of a schema
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments | {"additionalProperties": False}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    return schema | {"$defs": definitions} if definitions else schema


def _write_call(c: ToolCall) -> str:
    if c.arguments is None and c.raw:
        return c.raw
    return to_text({"name": c.name, "arguments": c.arguments or {}})


HERMES = Hermes()
HERMES_TEXT = Hermes(native=False)
