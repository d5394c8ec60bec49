"""From a growing conversation to token ids, by appending only.

The ids that a model sampled are kept as sampled; nothing is decoded and encoded again. What stands between two sampled
turns (end of turn, newline, tool results, the next generation prompt) is found by difference: the chat template renders
the history with and without the new messages, and only the new text is encoded. When a template does not just append but
rewrites what was there (drops old thoughts, moves the tools), the model will see another past: the conversation then starts
a new branch from its root, and the drift is counted.

Text of environments never becomes a control token: wherever it spells one, a zero-width space is put into it.
"""

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import msgspec

from agentgym.dialects import HERMES_TEXT, NATIVE, Dialect
from agentgym.errors import SamplerFailure, UserError
from agentgym.messages import Message, ToolCall, assistant, call, to_openai, user
from agentgym.tools import Tool


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    eos_token_id: Any
    chat_template: Any

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Ids of a text."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Text of ids."""

    def get_vocab(self) -> dict[str, int]:
        """All tokens with their ids."""

    def get_added_vocab(self) -> dict[str, int]:
        """Tokens outside the learnt vocabulary, control tokens among them."""

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """The template's text of a conversation."""


class Chat:
    """A tokenizer's chat template spoken in a dialect.

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template.
        dialect: How the model writes calls; by default what the template itself writes, and where that is nothing that we know,
            Hermes as text, which any template can carry.
        options: Passed on to the template, such as ``enable_thinking``.

    Raises:
        UserError: the tokenizer has no chat template, or one that cannot render two messages.
    """

    def __init__(self, tokenizer: Tokenizer, dialect: Dialect | None = None, **options: Any) -> None:
        if not tokenizer.chat_template:
            raise UserError("this tokenizer has no chat template: choose an instruction-tuned model, or set one")
        self.tokenizer = tokenizer
        self.options = options
        added = _control_tokens(tokenizer)
        self._control = re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True)))) if added else None
        self.folds_system = not self._shows_system()
        self.folds_thought = not self._shows_thought()
        self.dialect = dialect or self._native_dialect()
        self.turn_end, self.turn_end_id = self._find_turn_end(added)
        self.end_ids = frozenset(i for i in (self.turn_end_id, tokenizer.eos_token_id) if i is not None)

    @cached_property
    def vocabulary(self) -> str:
        """A hash of all tokens and their ids: ids recorded under one vocabulary mean nothing under another."""
        return vocabulary_of(self.tokenizer.get_vocab())

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, prompt: bool) -> str:
        """The template's text of a conversation; with `prompt`, up to where the assistant begins to write.

        Raises:
            SamplerFailure: the template refuses it.
        """
        plain, shown = self.dialect.conversation(messages, tools)
        if self.folds_system:
            plain = _fold_system(plain)
        if self.folds_thought:
            plain = list(map(_fold_thought, plain))
        try:
            return self._template(plain, shown, prompt)
        except Exception as error:  # templates refuse what they do not like with errors of many kinds
            raise SamplerFailure(f"the chat template cannot render this conversation: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, control tokens included, nothing added."""
        return self.tokenizer.encode(text, add_special_tokens=False) if text else []

    def parse(self, ids: Sequence[int]) -> Message:
        """The assistant message that these sampled ids spell."""
        body = ids[:-1] if ids and ids[-1] in self.end_ids else ids
        return self.dialect.parse(self.tokenizer.decode(list(body), skip_special_tokens=False))

    def neutral(self, message: Message) -> Message:
        """`message` with every spelt-out control token broken up; the same object when there is none."""
        if self._control is None or not any(map(self._control.search, _texts(message))):
            return message
        clean = self._neutral
        calls = tuple(ToolCall(clean(c.name), clean(c.arguments), c.id, clean(c.raw)) for c in message.tool_calls)
        content, thinking = self._neutral(message.content), self._neutral(message.thinking)
        return msgspec.structs.replace(message, content=content, thinking=thinking, tool_calls=calls)

    def _neutral(self, value: Any) -> Any:
        if isinstance(value, str) and self._control:
            return self._control.sub(lambda m: f"{m[0][0]}\u200b{m[0][1:]}", value)
        if isinstance(value, Mapping):
            return {self._neutral(k): self._neutral(v) for k, v in value.items()}
        return [self._neutral(v) for v in value] if isinstance(value, list) else value

    # ---- what the template does, found by trying --------------------------------------------------------------------

    def _template(self, messages: list[dict[str, Any]], tools: Any, prompt: bool) -> str:
        text = self.tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=prompt, **self.options
        )
        return str(text)

    def _tries(self, messages: list[dict[str, Any]], tools: Any = None) -> str:
        try:
            return self._template(messages, tools, False)
        except Exception:  # templates refuse what they do not know with errors of many kinds
            return ""

    def _shows_system(self) -> bool:
        probe = [{"role": "system", "content": "Sys-probe"}, {"role": "user", "content": "Usr-probe"}]
        return "Sys-probe" in self._tries(probe)

    def _shows_thought(self) -> bool:
        probe = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning_content": "Think-probe"}]
        return "Think-probe" in self._tries(probe)

    def _native_dialect(self) -> Dialect:
        """How the template itself writes calls, results and, where it does, tools; Hermes as text where it does not."""

        def probe_tool() -> None: ...

        asked, schema = assistant("", call("probe_tool")), Tool(probe_tool).schema
        messages = [user("x"), asked, Message("tool", "Tool-probe", (), asked.tool_calls[0].id, "probe_tool")]
        for as_text in (False, True):  # some templates want arguments as an object, some as its JSON
            text = self._tries([to_openai(m, json_arguments=as_text) for m in messages], [schema])
            for spoken in NATIVE if "Tool-probe" in text else ():
                shown = spoken.conversation(messages, [schema])[1] is None or text.count("probe_tool") >= 2
                if shown and re.search(spoken.mark.replace("NAME", "probe_tool"), text):
                    return spoken
        return HERMES_TEXT

    def _find_turn_end(self, added: Mapping[str, int]) -> tuple[str, int]:
        text = self._tries([{"role": "user", "content": "x"}, {"role": "assistant", "content": "Asst-probe"}])
        if "Asst-probe" not in text:
            raise UserError("this chat template cannot render a user and an assistant message: set another one")
        tail = text.rpartition("Asst-probe")[2].lstrip()
        for token in sorted(added, key=len, reverse=True):
            if tail.startswith(token):
                return token, added[token]
        raise UserError("this chat template ends the assistant's turns with no control token: set one that does")


class Conversation:
    """One episode's messages as ids: alternately `observe` and `act`.

    Attributes:
        ids: All ids of the current branch, exactly as the model sees them.
        drift: How often the template rewrote the past, so that a new branch was begun.
    """

    def __init__(self, chat: Chat, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        self.chat = chat
        self.tools = tools
        self.ids: list[int] = []
        self.drift = 0
        self._messages: list[Message] = []
        self._prompt = ""  # the template's text of the history up to the last generation prompt
        self._closed = ""  # the same up to the end of the turn that followed
        self._turn = ("", "", "")  # that turn: body, end of turn, and what the template puts after it
        self._ended = True  # whether its last id is its end
        self._thought = False  # whether it has a thought, which must not vanish unnoticed

    def fork(self) -> "Conversation":
        """The same history, to be gone on with in another way."""
        other = copy.copy(self)
        other.ids, other._messages = list(self.ids), list(self._messages)
        return other

    def observe(self, messages: Sequence[Message]) -> tuple[list[int], bool]:
        """Append what the environment said and the generation prompt.

        Returns:
            The ids to be appended to the current branch; or, with True, those of a whole new branch.
        """
        self._messages += map(self.chat.neutral, messages)
        text = self.chat.render(self._messages, self.tools, prompt=True)
        bridge = self._bridge(text) if self.ids else text
        if bridge is None:
            self.drift += 1
            self.ids = []
        delta = self.chat.encode(text if bridge is None else bridge)
        self.ids += delta
        self._prompt = text
        return delta, bridge is None

    def act(self, message: Message, ids: Sequence[int] | None = None) -> list[int]:
        """Append the assistant's turn: the sampled `ids` as they are, or, without them, `message` as the template writes it.

        Returns:
            The turn's ids; the end of the turn is among them when it was sampled or written.
        """
        self._messages.append(self.chat.neutral(message))
        self._closed = self.chat.render(self._messages, self.tools, prompt=False)
        body, end, _ = self._turn = self._split(self._closed)
        taken = list(ids) if ids is not None else self.chat.encode(body + end)
        self._thought = bool(message.thinking)
        self._ended = ids is None or taken[-1:] == [self.chat.turn_end_id]
        self.ids += taken
        return taken

    def _split(self, closed: str) -> tuple[str, str, str]:
        """The last turn's text in `closed`: body, end of turn, and what the template puts after it."""
        end = self.chat.turn_end
        if not closed.startswith(self._prompt):  # the template rewrote its own prompt: what the dialect would have written
            body = self.chat.dialect.render(self._messages[-1])
            if self._prompt.rstrip().endswith("<think>"):  # the thought is open already
                body = body.removeprefix("<think>\n") if body.startswith("<think>") else f"\n</think>\n\n{body}"
            return body, end, ""
        turn = closed[len(self._prompt) :]
        body, found, tail = turn.rpartition(end)
        return (body, found, tail) if found else (turn, "", "")

    def _bridge(self, text: str) -> str | None:
        """The text between the last id and the next turn, given the new prompt's text; None when history was rewritten."""
        body, end, tail = self._turn
        if self._closed.startswith(self._prompt) and text.startswith(self._closed):
            rest = tail + text[len(self._closed) :]
        elif end and text.startswith(self._prompt):
            # Some templates decorate the last turn alone (Qwen3 opens an empty thought in it) and not the same turn later on:
            # what the model wrote still stands where it stood.
            later, found, rest = text[len(self._prompt) :].partition(end)
            if not found or self._thought or not re.fullmatch(r"\s*<think>\s*</think>\s*", body.removesuffix(later)):
                return None
        else:
            return None
        return rest if self._ended else end + rest


def vocabulary_of(entries: Mapping[str, int]) -> str:
    """A hash of all tokens and their ids."""
    return hashlib.blake2b(repr(sorted(entries.items())).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _control_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """The added tokens that steer a model: special ones, and those that the template or a dialect writes.

    Others are plain text in one piece (runs of spaces, HTML tags), and environments may say them.
    """
    special = {str(t) for t in getattr(tokenizer, "added_tokens_decoder", {}).values() if getattr(t, "special", True)}
    written = f"{tokenizer.chat_template} <think> </think> <tool_call> </tool_call> <tool_response> </tool_response>"
    added = tokenizer.get_added_vocab()
    return {t: i for t, i in added.items() if len(t) > 1 and t.strip() and (t in special or t in written)}


def _texts(message: Message) -> list[str]:
    texts = [message.content, message.thinking]
    return texts + [f"{c.name} {c.arguments} {c.raw}" for c in message.tool_calls] if message.tool_calls else texts


def _fold_thought(message: dict[str, Any]) -> dict[str, Any]:
    """For templates that do not write `reasoning_content`: the thought opens the content."""
    if not message.get("reasoning_content"):
        return message
    return message | {"content": f"<think>\n{message['reasoning_content']}\n</think>\n\n{message['content']}"}


def _fold_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For templates without a system role: its text opens the first user message."""
    if not messages or messages[0]["role"] != "system":
        return messages
    head, *rest = messages
    if rest and rest[0]["role"] == "user":
        return [rest[0] | {"content": f"{head['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": head["content"]}, *rest]
