"""Conversations that begin in the middle: what an agent is told of what others said and did before it came."""

from collections.abc import Sequence

from agentgym import Message, system, user
from agentgym.tools import to_json


def opening(messages: Sequence[Message], instructions: str = "") -> list[Message]:
    """An opening that no template and no trainer takes for the agent's own words.

    System messages become one, `instructions` first. Where an assistant or a tool spoke, all that was said stands as a transcript
    in the last user's message.

    Args:
        messages: As published, a user's message last.
        instructions: The environment's own.
    """
    head = "\n\n".join(filter(None, [instructions, *(m.content for m in messages if m.role == "system")]))
    talk = [m for m in messages if m.role != "system"]
    if any(m.role in ("assistant", "tool") for m in talk):
        *before, last = talk
        lines = [f"{m.role}: {_told(m)}" for m in before]
        talk = [user("\n".join(["This was said before:", *lines, "", last.content]))]
    return [*([system(head)] if head else []), *talk]


def _told(message: Message) -> str:
    calls = [f"[calls {c.name} with {to_json(c.arguments)}]" for c in message.tool_calls]
    return " ".join(filter(None, [message.content, *calls]))
