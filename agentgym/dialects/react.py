"""ReAct as text (Yao et al. 2022, arXiv:2210.03629): ``Thought: / Action: / Action Input: / Observation: / Final Answer:``."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym.dialects.base import clean, join_user, to_text, with_system
from agentgym.messages import Message, ToolCall, number_calls, parse_object
from agentgym.tools import to_json

_THOUGHT = re.compile(r"\A\s*Thought:[ \t]*(.*?)(?=^(?:Action|Final Answer):|\Z)", re.DOTALL | re.MULTILINE)
_ACTION = re.compile(r"^Action:([^\n]*)\n+Action Input:(.*?)(?=^Action:|^Final Answer:|\Z)", re.DOTALL | re.MULTILINE)
_ANSWER = re.compile(r"^Final Answer:[ \t]*(.*)\Z", re.DOTALL | re.MULTILINE)
_PROMPT = """You may call tools. They are described here, one JSON schema a line:
{tools}
Write a thought, then either an action:
Thought: why
Action: the tool's name
Action Input: its arguments as a JSON object
or, when you are done:
Thought: why
Final Answer: your answer"""


class ReAct:
    """The ReAct text dialect. Content beside tool calls counts as thought: the format has no other place for it."""

    name = "react"
    stop: tuple[str, ...] = ("\nObservation:",)
    mark = ""

    def parse(self, text: str) -> Message:
        """Read one turn; a text with neither action nor final answer is `malformed`."""
        text = clean(text).split("\nObservation:")[0]
        found = _THOUGHT.match(text)
        thinking = found[1].strip() if found else ""
        answer = _ANSWER.search(text)
        actions = _ACTION.findall(text[: answer.start()] if answer else text)
        if actions:
            calls = tuple(ToolCall(name.strip(), parse_object(raw), "", raw.strip()) for name, raw in actions)
            return Message("assistant", "", number_calls(calls), thinking=thinking)
        if answer:
            return Message("assistant", answer[1].strip(), thinking=thinking)
        reason = 'write "Action:" and "Action Input:" lines, or a "Final Answer:" line'
        return Message("assistant", text.strip(), malformed=reason)

    def render(self, message: Message) -> str:
        """Write one turn."""
        if message.malformed:
            return message.content
        thought = message.thinking or (message.content if message.tool_calls else "")
        lines = [f"Thought: {thought}"] if thought else []
        for c in message.tool_calls:
            lines += [f"Action: {c.name}", f"Action Input: {_input(c)}"]
        if not message.tool_calls:
            lines.append(f"Final Answer: {message.content}")
        return "\n".join(lines)

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """Everything as plain texts; tool results become observations in a user message."""
        out: list[dict[str, Any]] = []
        for m in messages:
            if m.role == "tool":
                out = join_user(out, f"Observation: {m.content}")
            else:
                out.append({"role": m.role, "content": self.render(m) if m.role == "assistant" else m.content})
        return with_system(out, _PROMPT.format(tools="\n".join(map(to_json, tools)))), None

    def call_grammar(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """None: an action ends with whatever the model writes next."""


def _input(c: ToolCall) -> str:
    return c.raw if c.arguments is None else to_text(c.arguments)


REACT = ReAct()
