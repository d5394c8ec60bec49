"""What one episode holds, in pieces that a page can bear: its outline, some turns, some tokens, a piece of a text."""

import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode, Node

from .tokens import Spelling, dump_of, numbers, spelt

LONGEST = 20_000  # characters of a text that are sent at once
DEEPEST = 50  # levels of a value; what is deeper is one text
LABEL = 60


class BrokenError(ValueError):
    """An episode whose record cannot be read."""


@functools.lru_cache(maxsize=8)
def episode_of(store: Store, row: int) -> Episode:
    """An episode; the last ones are remembered, since they never change.

    Raises:
        LookupError: there is none.
        BrokenError: its record is damaged.
    """
    if not store.query("SELECT 1 FROM episodes WHERE id = ?", row):
        raise LookupError(f"there is no episode {row}")
    try:
        return store.episode(row)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BrokenError(f"{type(error).__name__}: {error}") from error


def outline(store: Store, row: int) -> dict[str, Any]:
    """All but what was said: key, tree, pairs, selections, other attempts at the task; a damaged record as it stands."""
    try:
        episode = episode_of(store, row)
    except BrokenError as error:
        return _broken(store, row, error)
    keys = ("chosen", "chosen_leaf", "rejected", "rejected_leaf", "first", "margin", "confidence", "method", "reason", "dropped")
    pairs = store.query(f"SELECT name, {', '.join(keys)} FROM pairs WHERE chosen = ?1 OR rejected = ?1", row)
    others = "SELECT id, version, sample, success, reward FROM episodes WHERE env = ? AND task = ? AND id != ? LIMIT 200"
    ((created,),) = store.query("SELECT created FROM episodes WHERE id = ?", row)
    about = {name: getattr(episode, name) for name in ("id", "env", "env_args", "sample", "version", "seconds", "drift")}
    return about | {
        "created": created,
        "task": cut(msgspec.to_builtins(episode.task), ["task"]),
        "tools": cut(list(episode.tools), ["tools"]),
        "nodes": columns(episode.nodes),
        "pairs": [dict(zip(("name", *keys), pair, strict=True)) for pair in pairs],
        "selections": store.query("SELECT name, leaf, reason FROM selections WHERE episode = ?", row),
        "others": store.query(others, episode.env, episode.task.id, row),
        "dumped": dump_of(store.path, episode.version) is not None,
    }


def columns(nodes: list[Node]) -> dict[str, list[Any]]:
    """The tree without its texts, a list for each field."""
    plain = ("parent", "continues", "reward", "errors", "end", "success", "visits", "value", "rank", "spent")
    found: dict[str, list[Any]] = {name: [getattr(n, name) for n in nodes] for name in plain}
    found["action"] = [n.kind == "action" for n in nodes]
    found["tokens"] = [None if n.token_ids is None else len(n.token_ids) for n in nodes]
    found["label"] = [_label(n) if n.kind == "action" else "" for n in nodes]
    return found


def _label(node: Node) -> str:
    message = node.messages[0]
    if message.tool_calls:
        first = message.tool_calls[0]
        values = (first.arguments or {}).values()
        told = ", ".join(str(v)[:LABEL] for v in list(values)[:8]) if first.arguments is not None else first.raw[:LABEL]
        return f"{first.name}({told})"[:LABEL]
    return (message.content or message.malformed or message.thinking)[:LABEL]


def turns(store: Store, row: int, ids: Iterable[int] | None = None, longest: int | None = LONGEST) -> dict[int, Any]:
    """What was said in some nodes, or in all; texts longer than `longest` are cut, None for no limit."""
    found = {}
    for node in _chosen(episode_of(store, row), ids):
        about = {"messages": msgspec.to_builtins(node.messages), "rewards": node.rewards, "state": node.state_key}
        about |= {"version": node.version, "cut": node.cut}
        found[node.id] = cut(about, ["nodes", node.id], longest)
    return found


def tokens(store: Store, spelling: Spelling, row: int, ids: Iterable[int] | None = None) -> dict[int, Any]:
    """The tokens of some nodes, or of all: ids, texts, logprobs, and what the update that learnt from it saw."""
    episode = episode_of(store, row)
    tokenizer, dump = spelling.of(episode.vocabulary), dump_of(store.path, episode.version)
    seen = numbers(dump, episode) if dump else {}
    found = {}
    for node in _chosen(episode, ids):
        if node.token_ids is not None:
            new, advantages = seen.get(node.id, (None, None))
            known = {"logprobs": node.logprobs, "new": new, "advantages": advantages}
            texts = spelt(node.token_ids, tokenizer) if tokenizer else None
            found[node.id] = {"ids": node.token_ids, "texts": texts, "action": node.kind == "action"} | known
    return found


def text(store: Store, row: int, at: list[Any], start: int) -> dict[str, Any]:
    """The next piece of a text that was cut.

    Raises:
        LookupError: there is no text at this place.
    """
    episode = episode_of(store, row)
    kind, *rest = at
    known: Any = {"task": msgspec.to_builtins(episode.task), "tools": list(episode.tools)}.get(kind)
    if kind == "nodes":
        number, *rest = rest
        known = turns(store, row, [number], None)[number]
    try:
        for key in rest:
            known = known[key]
    except (TypeError, IndexError) as error:
        raise LookupError(f"there is nothing at {at}") from error
    if not isinstance(known, str):
        raise LookupError(f"there is no text at {at}")
    return {"text": known[start : start + LONGEST], "length": len(known)}


def cut(value: Any, at: list[Any], longest: int | None = LONGEST) -> Any:
    """A value with its long texts cut: each is ``{"begins", "length", "at"}``, the last being its place for `text`."""
    if longest is None:
        return value
    if len(at) > DEEPEST:
        return msgspec.json.encode(value).decode()[:longest]
    if isinstance(value, str) and len(value) > longest:
        return {"begins": value[:longest], "length": len(value), "at": at}
    if isinstance(value, dict):
        return {str(k)[:longest]: cut(v, [*at, k], longest) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [cut(v, [*at, i], longest) for i, v in enumerate(value)]
    return value


def _chosen(episode: Episode, ids: Iterable[int] | None) -> list[Node]:
    if ids is None:
        return episode.nodes
    wanted = set(ids)
    return [n for n in episode.nodes if n.id in wanted]


def _broken(store: Store, row: int, error: BrokenError) -> dict[str, Any]:
    """The record of a damaged episode as it stands in the store."""
    ((text,),) = store.query("SELECT nodes FROM episodes WHERE id = ?", row)
    return {"id": row, "broken": str(error), "raw": str(text)[:LONGEST], "length": len(str(text))}
