"""Rows and preference pairs into batches: what the trainers are fed with.

Padding stands on the right without an attention mask: causal attention never looks there, and the fast attention kernels stay
usable. Sides of pairs are packed: the prompt and the turns that they share go through the model once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .packing import Scored, pack
from .rows import PairRow, Row, from_divergence


@dataclass(frozen=True)
class Item:
    """A pair as the trainer wants it.

    Attributes:
        rows: Chosen and rejected; for KTO then both of them after another pair's prompt. Their logprobs are the reference's.
        smoothing: Of the pair.
    """

    rows: tuple[Row, ...]
    smoothing: float


def items(pairs: Sequence[PairRow], *, diverging: bool, mismatched: bool) -> list[Item]:
    """One item for each pair.

    KTO's z is measured on prompts with completions of other prompts. The paper takes those of the same batch; here each pair has
    a fixed partner half the set away (pairs of one tree stand side by side), so that the reference runs once over the set. A
    sequence is cut where the longest row ends.

    Args:
        pairs: What to prefer to what.
        diverging: Weights only from the first id on in which the sides differ.
        mismatched: Add both sides with another pair's prompt.
    """
    kept = [from_divergence(p) for p in pairs] if diverging else pairs
    sides = [(p.chosen, p.rejected) for p in kept]
    if not mismatched:
        return [Item(rows, p.smoothing) for rows, p in zip(sides, kept, strict=True)]
    longest = max(len(r.input_ids) for pair in sides for r in pair)
    partners = [sides[(i + len(sides) // 2) % len(sides)] for i in range(len(sides))]
    return [
        Item((*rows, *(_joined(*both, longest) for both in zip(rows, others, strict=True))), p.smoothing)
        for rows, others, p in zip(sides, partners, kept, strict=True)
    ]


class Collator:
    """Puts pairs into a batch, all chosen sides first; those with other pairs' prompts, for KTO, under names with ``kl_``.

    Args:
        items: All pairs.
        pad: Id of the padding.
        trees: See `packing.pack`.

    Attributes:
        items: All pairs.
        tokens: How many tokens of pairs were handed out, each side counting whole.
    """

    def __init__(self, items: Sequence[Item], pad: int, *, trees: bool) -> None:
        self.items = list(items)
        self.pad, self.trees = pad, trees
        self.tokens = 0

    def refer(self, rows: Sequence[Row]) -> None:
        """Replace all rows of all items, in their order, by `rows`, which know the reference's log-probabilities."""
        rest = iter(rows)
        self.items = [replace(item, rows=tuple(next(rest) for _ in item.rows)) for item in self.items]

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Any]:
        """The `packing.Micro` of 2B rows as ``micro``, ``ref_logps`` (m,) and ``smoothing`` (B,).

        Args:
            batch: B positions in `items`, each under "row".
        """
        taken = [self.items[b["row"]] for b in batch]
        sides = list(zip(*(item.rows for item in taken), strict=True))
        rows = [*sides[0], *sides[1]]
        self.tokens += sum(len(r.input_ids) for r in rows)
        made = self._packed(rows) | {"smoothing": torch.tensor([item.smoothing for item in taken])}
        if sides[2:]:
            made |= {f"kl_{k}": v for k, v in self._packed([*sides[2], *sides[3]]).items()}
        return made

    def _packed(self, rows: Sequence[Row]) -> dict[str, Any]:
        known = [r.logprobs[i] if r.logprobs else 0.0 for r in rows for i, w in enumerate(r.weights) if w and i]
        return {"micro": pack(scored(rows), self.pad, trees=self.trees), "ref_logps": torch.tensor(known)}


def scored(rows: Sequence[Row]) -> list[Scored]:
    """Rows as sequences: what has a weight is scored, row after row. Nothing could predict a first token."""
    at = [1 + np.flatnonzero(r.weights[1:]) for r in rows]
    ends = np.cumsum([len(a) for a in at])
    return [Scored(r.input_ids, a, end - len(a) + np.arange(len(a))) for r, a, end in zip(rows, at, ends, strict=True)]


def padded(rows: Sequence[Row], pad: int) -> dict[str, Tensor]:
    """``input_ids``, ``position_ids``, ``weights``, ``completion_mask`` and ``ref_logps`` (0 off the mask), each (R, L)."""
    longest = max(len(r.input_ids) for r in rows)

    def filled(values: Sequence[float], off: float) -> list[float]:
        return [*values, *[off] * (longest - len(values))]

    weights = torch.tensor([filled(r.weights, 0.0) for r in rows])
    return {
        "input_ids": torch.tensor([filled(r.input_ids, pad) for r in rows]),
        "position_ids": torch.arange(longest).expand(len(rows), -1),
        "weights": weights,
        "completion_mask": (weights != 0).long(),
        "ref_logps": torch.tensor([filled(r.logprobs or [], 0.0) for r in rows]) * (weights != 0),
    }


def _joined(asked: Row, answered: Row, longest: int) -> Row:
    """The prompt of one row with all that comes after the prompt of another."""
    prompt, start = asked.input_ids[: _first(asked)], _first(answered)
    ids, weights = prompt + answered.input_ids[start:], [0.0] * len(prompt) + answered.weights[start:]
    return Row(ids[:longest], weights[:longest])


def _first(row: Row) -> int:
    return next((i for i, w in enumerate(row.weights) if w), len(row.weights))
