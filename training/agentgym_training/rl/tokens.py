"""What the update saw, token by token: id, whether it is trained, old and new logprob, advantage. For people who look for a bug.

Each update writes the numbers of all its trained tokens to one compressed file, some 8 bytes a token; episodes are in the store.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym import UserError
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode, Node
from agentgym_trajectories.view.tokens import numbers, spelt

from .credit import Floats
from .turns import Turns

DIGITS = 4


@dataclass(frozen=True)
class Token:
    """One token of an episode.

    Attributes:
        node: The turn that it belongs to.
        id: Its id.
        text: What it spells.
        sampled: Its logprob when it was written; None on tokens that are not trained.
        new: Its logprob under the policy that learnt from it; None on tokens that are not trained.
        advantage: None on tokens that are not trained.
    """

    node: int
    id: int
    text: str
    sampled: float | None = None
    new: float | None = None
    advantage: float | None = None


def keep(file: Path, episodes: Sequence[Episode], turns: Turns, advantages: Floats, new: Floats) -> None:
    """Write the numbers of an update's M trained tokens.

    Args:
        file: Ends in ``.npz``.
        episodes: E episodes.
        turns: Of them.
        advantages: (M,).
        new: (M,), see `Token`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    keys = np.array([e.id for e in episodes])
    numbers = {"advantages": advantages.astype(np.float32), "new": new.astype(np.float32)}
    arrays: dict[str, Any] = numbers | {"episode": keys[turns.episode], "node": turns.node, "tokens": turns.tokens}
    np.savez_compressed(file, **arrays)


def tokens_of(out: Path, update: int, task: str, sample: int, tokenizer: Any) -> list[Token]:
    """All tokens of one episode that an update learnt from; of a tree, in the order of its growth.

    Args:
        out: Directory of a training.
        update: Number of the update.
        task: Id of the task.
        sample: Which of the attempts at it.
        tokenizer: Of the model.

    Raises:
        UserError: there is no such update or episode.
    """
    file = out / "tokens" / f"update-{update}.npz"
    if not file.exists():
        raise UserError(f"there is no update {update} in {out}: choose one of those in {file.parent}")
    with Store(out / "rollouts") as store:
        found = store.query(
            "SELECT id FROM episodes WHERE version = ? AND task = ? AND sample = ?", f"update-{update}", task, sample
        )
        if not found:
            first = "SELECT task FROM episodes WHERE version = ? GROUP BY task ORDER BY min(id) LIMIT 6"
            rows = store.query(first, f"update-{update}")
            some = ", ".join([name for (name,) in rows[:5]] + ["..."] * (len(rows) > 5))
            raise UserError(f"update {update} has no sample {sample} of task {task!r}: its tasks are {some or 'none'}")
        episode = store.episode(found[0][0])
    seen = numbers(file, episode)
    return [token for node in episode.nodes for token in _of_node(node, seen.get(node.id), tokenizer)]


def _of_node(node: Node, seen: tuple[list[float | None], list[float]] | None, tokenizer: Any) -> list[Token]:
    ids = node.token_ids or []
    texts = spelt(ids, tokenizer)
    if seen is None:
        return [Token(node.id, i, text) for i, text in zip(ids, texts, strict=True)]
    rows = zip(ids, texts, node.logprobs or [], *seen, strict=True)
    return [Token(node.id, *row) for row in rows]


def as_text(tokens: Sequence[Token]) -> str:
    """A line for each token, in columns."""
    head = f"{'node':>5} {'id':>7} {'train':>5} {'sampled':>9} {'new':>9} {'advantage':>9}  text"
    return "\n".join([head, *(_line(t) for t in tokens)])


def _line(token: Token) -> str:
    shown = [" " * 9 if x is None else f"{x:9.{DIGITS}f}" for x in (token.sampled, token.new, token.advantage)]
    return f"{token.node:5d} {token.id:7d} {'*' if token.advantage is not None else '':>5} {' '.join(shown)}  {token.text!r}"


def as_html(tokens: Sequence[Token], title: str) -> str:
    """A page: the text, trained tokens on green (good) or red (bad) by their advantage, all numbers under the pointer."""
    most = max((abs(t.advantage) for t in tokens if t.advantage), default=1.0)
    spans = [f"<span{_shade(t, most)}>{html.escape(t.text)}</span>" for t in tokens]
    style = "body{font:14px monospace;white-space:pre-wrap;max-width:60em;margin:2em auto;color:#777}.a{color:#000}"
    name = html.escape(title)
    return f"<!doctype html><meta charset=utf-8><title>{name}</title><style>{style}</style><h1>{name}</h1>{''.join(spans)}\n"


def _shade(token: Token, most: float) -> str:
    if token.advantage is None:
        return f' title="id {token.id}, not trained"'
    colour = "46,125,50" if token.advantage >= 0 else "198,40,40"
    said = (
        f"id {token.id}, sampled {token.sampled:.{DIGITS}f}, new {token.new:.{DIGITS}f}, advantage {token.advantage:.{DIGITS}f}"
    )
    return f' class=a title="{said}" style="background:rgba({colour},{0.1 + 0.6 * abs(token.advantage) / most:.2f})"'
