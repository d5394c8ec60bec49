"""Which token of a turn says what: found in the turn's own text, so that it holds for any tokenizer and dialect."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from agentgym import ToolCall
from agentgym.tokens import Chat
from agentgym_trajectories.rows import Turn

PARTS = ("name", "argument", "thought", "text", "other")  # a token that has of several is of the first of them


def parts(turn: Turn) -> list[str]:
    """Of each id of an action the part that it belongs to.

    Returns:
        "name" (of a called tool), "argument" (a value in a call), "thought", "text" (what is said beside), or "other" (tags,
        keys, punctuation, the end of the turn).
    """
    chat = turn.chat
    text, starts = _places(chat, turn.ids)
    message = chat.parse(turn.ids)
    marks = [len(PARTS) - 1] * len(text)

    def mark(part: str, start: int, length: int) -> int:
        if start >= 0:
            marks[start : start + length] = [PARTS.index(part)] * length
        return start

    if message.thinking:
        mark("thought", text.find(message.thinking), len(message.thinking))
    if message.content:
        mark("text", text.rfind(message.content) if not message.tool_calls else text.find(message.content), len(message.content))
    at = 0
    for call in message.tool_calls:
        start = text.find(call.raw, at)
        if not call.raw or start < 0:
            continue
        before, inside = text.rfind(call.name, at, start), text.find(f'"{call.name}"', start, start + len(call.raw))
        named = mark("name", inside + 1 if inside >= 0 else before, len(call.name) if call.name else 0)
        at = max(start, named + len(call.name) if inside >= 0 else start)
        for value in _values(call):
            if (found := text.find(value, at, start + len(call.raw))) >= 0:
                mark("argument", found, len(value))
                at = found + len(value)
        at = start + len(call.raw)
    ends = [*starts[1:], len(text)]  # an id that only ends a character belongs where that character does
    return [PARTS[min(marks[a:b] or marks[max(0, a - 1) : a], default=len(PARTS) - 1)] for a, b in zip(starts, ends, strict=True)]


def _places(chat: Chat, ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of the ids, and where in it each begins."""

    def read(some: Sequence[int]) -> str:
        return chat.tokenizer.decode(some, skip_special_tokens=False)

    text, pieces = read(ids), [read([i]) for i in ids]
    if "".join(pieces) != text:  # characters in several pieces, or spaces that stand only between pieces
        ends = [len(read(ids[:k])) for k in range(len(ids) + 1)]
        return text, [min(e, len(text)) for e in ends[:-1]]
    starts = [0]
    for piece in pieces[:-1]:
        starts.append(starts[-1] + len(piece))
    return text, starts


def _values(call: ToolCall) -> Iterator[str]:
    """The values of a call's arguments in their order, as JSON writes them, without quotes."""

    def leaves(value: Any) -> Iterator[str]:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from leaves(inner)
        else:
            written = json.dumps(value, ensure_ascii=False)
            yield written[1:-1] if isinstance(value, str) else written

    yield from filter(None, leaves(call.arguments or {}))
