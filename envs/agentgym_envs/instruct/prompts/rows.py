"""Rows of prompt lists as tasks: what others' lists call the prompt, and the answer to compare with."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from agentgym import Message, Task
from agentgym.messages import Role, from_openai
from agentgym.tasks import check_split
from agentgym_envs.code.rows import FILES, Row, split_by_hash

from .verifiable import demands_of

PROMPTS = ("messages", "prompt", "instruction", "question")
REFERENCES = ("reference", "chosen", "completion", "output", "response", "answer")
IDS = ("id", "prompt_id", "key")


def convert(row: Row, named: str) -> Task:
    """A row as a task.

    The prompt is a text or a list of messages (``role`` and ``content``) under one of `PROMPTS`; an ``input`` beside an
    ``instruction`` belongs to it, also as the first of its ``instances``. Where the messages end with the assistant's, that
    is the reference answer; else it is what one of `REFERENCES` holds. Demands are given as `Checks` says. A row's own
    ``split`` counts more than the file's.

    Raises:
        KeyError, TypeError, ValueError: it has no prompt, or demands that are none.
    """
    if row.get("instances"):  # Self-Instruct's seeds
        row = {**row, **row["instances"][0]}
    name = next((n for n in PROMPTS if row.get(n)), None)
    if name is None:
        raise KeyError(f"none of {', '.join(PROMPTS)}")
    messages = _messages(row[name])
    if name == "instruction" and row.get("input"):
        messages = [Message("user", f"{row[name]}\n\n{row['input']}")]
    reference = ""
    if messages[-1].role == "assistant":
        *messages, last = messages
        reference = last.content
    if not messages or messages[-1].role == "assistant" or not messages[-1].content.strip():
        raise ValueError("nothing is asked")
    reference = next((_text(row[n]) for n in REFERENCES if row.get(n)), reference)
    demands = {n: _without_nulls(row[n]) for n in ("instruction_id_list", "kwargs", "constraints") if row.get(n)}
    demands_of(demands)
    plain = [{"role": m.role, "content": m.content} for m in messages]
    data = {"messages": plain, **({"reference": reference} if reference else {}), **demands}
    content = msgspec.json.encode(data, order="deterministic")
    number = next((str(row[n]) for n in IDS if row.get(n) is not None), hashlib.blake2b(content, digest_size=8).hexdigest())
    own = str(row.get("split") or "")
    split = check_split(FILES.get(own, own)) if own else named or split_by_hash(messages[-1].content)
    return Task(messages[-1].content, data, number, split, str(row.get("difficulty") or ""))


def opening_of(task: Task) -> list[Message]:
    """The messages of a task."""
    found = task.data.get("messages")
    return [from_openai(m) for m in found] if found else [Message("user", task.prompt)]


def _messages(value: Any) -> list[Message]:
    if isinstance(value, str):
        return [Message("user", value)]
    if strange := {m["role"] for m in value} - set(get_args(Role)):
        raise ValueError(f"nobody is {sorted(strange)[0]!r}: roles are {', '.join(get_args(Role))}")
    return [from_openai(m) for m in value]


def _text(value: Any) -> str:
    """A reference answer: a text, or the last of a list of messages."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[-1]
    return str(value["content"] if isinstance(value, Mapping) else value)


def _without_nulls(value: Any) -> Any:
    """Datasets fill in what a row does not have."""
    return [{k: v for k, v in v.items() if v is not None} if isinstance(v, Mapping) else v for v in value]
