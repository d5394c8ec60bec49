"""How a model family writes thoughts, tool calls and answers: the seam between text and messages."""

import json
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
        mark: What stands in the text of a chat template that writes calls in this way, as a pattern with the tool's name in the
            place of ``NAME``; empty for dialects that no template speaks.
    """

    name: str
    stop: tuple[str, ...]
    mark: str

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


def split_thought(text: str, opening: str = "<think>", closing: str = "</think>") -> tuple[str, str, str]:
    """The thought that a turn begins with (its opening may stand in the prompt), the rest, and what is wrong if it has no end."""
    if closing in text:
        thinking, _, rest = text.partition(closing)
        return (thinking.partition(opening)[2] if opening in thinking else thinking).strip(), rest, ""
    return "", text, f"close the thought with {closing}, then act or answer" if opening in text else ""


def to_text(value: Any) -> str:
    """JSON with spaces after colons and commas, as every chat template's tojson writes it; msgspec would not."""
    return json.dumps(value, ensure_ascii=False)


def join_user(out: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Add `text` as a user message; results of parallel calls join into one, since many templates demand alternation."""
    if out and out[-1]["role"] == "user":
        return [*out[:-1], {"role": "user", "content": f"{out[-1]['content']}\n{text}"}]
    return [*out, {"role": "user", "content": text}]


def with_system(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Append `text` to the system message, making one if there is none."""
    if messages and messages[0]["role"] == "system":
        first = messages[0] | {"content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
