"""How a model family writes thoughts, tool calls and answers: the seam between text and messages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from agentgym.messages import Message


class CallGrammar(NamedTuple):
    """How a call of one tool is written: `begin`, then JSON of `schema`, then `end`.

    Attributes:
        begin: Opens with `trigger`.
        schema: A JSON schema that stands on its own.
        end: Closes the call.
        trigger: From here on, nothing but a call can follow.
        excludes: What strings in the JSON must not spell, since it would be read as something else.
    """

    begin: str
    schema: dict[str, Any]
    end: str
    trigger: str
    excludes: tuple[str, ...]


class Dialect(Protocol):
    """Renders and parses an assistant's text, and fits a conversation to a chat template.

    Attributes:
        name: As used on the command line.
        stop: Strings that end a turn beside the end-of-turn token.
    """

    name: str
    stop: tuple[str, ...]

    def parse(self, text: str) -> Message:
        """Read what a model wrote. Never raises: what cannot be read is a call without arguments or a `malformed` message."""
        ...

    def render(self, message: Message) -> str:
        """Write an assistant message as the model would have; ``parse(render(m))`` equals ``m`` up to raw texts."""
        ...

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """Messages and tools as they are handed to a chat template.

        A dialect whose tools live in the prompt's text puts them there and returns None for the tools.
        """
        ...

    def call_grammar(self, tools: Sequence[Mapping[str, Any]]) -> list[CallGrammar] | None:
        """What a call of each of these tools looks like; None where calls have no form that sampling could be held to."""
        ...


def clean(text: str) -> str:
    """Text without lone surrogates, which no store, tokenizer or JSON encoder accepts."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def with_system(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Append `text` to the system message, making one if there is none."""
    if messages and messages[0]["role"] == "system":
        first = messages[0] | {"content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
