"""Rows and preference pairs into batches: what the trainers are fed with.

Padding stands on the right without an attention mask: causal attention never looks there, and the fast attention kernels stay
usable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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

    Attributes:
        items: All pairs.
        tokens: How many real tokens of pairs were handed out.
    """

    def __init__(self, items: Sequence[Item], pad: int) -> None:
        self.items = list(items)
        self.pad = pad
        self.tokens = 0

    def refer(self, rows: Sequence[Row]) -> None:
        """Replace all rows of all items, in their order, by `rows`, which know the reference's log-probabilities."""
        rest = iter(rows)
        self.items = [replace(item, rows=tuple(next(rest) for _ in item.rows)) for item in self.items]

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        """What `padded` says for 2B rows, and ``smoothing`` (B,).

        Args:
            batch: B positions in `items`, each under "row".
        """
        taken = [self.items[b["row"]] for b in batch]
        sides = list(zip(*(item.rows for item in taken), strict=True))
        rows = [*sides[0], *sides[1]]
        self.tokens += sum(len(r.input_ids) for r in rows)
        made = padded(rows, self.pad) | {"smoothing": torch.tensor([item.smoothing for item in taken])}
        if sides[2:]:
            made |= {f"kl_{k}": v for k, v in padded([*sides[2], *sides[3]], self.pad).items()}
        return made


def padded(rows: Sequence[Row], pad: int) -> dict[str, Tensor]:
    """``input_ids``, ``position_ids``, ``weights``, ``completion_mask`` and ``ref_logps`` (0 off the mask), each (R, L)."""
    longest = max(len(r.input_ids) for r in rows)

    def filled(values: Sequence[float], off: float) -> list[float]:
        return [*values, *[off] * (longest - len(values))]

    weights = torch.tensor([filled(r.weights, 0.0) for r in rows])
    mask = (weights != 0).long()
    return {
        "input_ids": torch.tensor([filled(r.input_ids, pad) for r in rows]),
        "position_ids": torch.arange(longest).expand(len(rows), -1),
        "weights": weights,
        "completion_mask": mask,
        "ref_logps": torch.tensor([filled(r.logprobs or [], 0.0) for r in rows]) * mask,
    }


def branched(rows: Sequence[Row]) -> dict[str, Tensor]:
    """What rows that branch need beside `padded`; nothing where none does.

    Returns:
        ``parents`` (R, L), the place of the id before each id, 0 for the first; ``position_ids`` (R, L), how many ids come
        before; and ``attention_mask`` (R, 1, L, L), 0 where an id comes from another or is it, else the least number. Padding
        sees itself.
    """
    if all(r.parents is None for r in rows):
        return {}
    longest = max(len(r.input_ids) for r in rows)
    seen = torch.eye(longest, dtype=torch.bool).repeat(len(rows), 1, 1)
    parents = (torch.arange(longest) - 1).clamp(min=0).repeat(len(rows), 1)
    for r, row in enumerate(rows):
        given = row.parents or list(range(-1, len(row.input_ids) - 1))
        for i, parent in enumerate(given):
            if parent >= 0:
                seen[r, i] |= seen[r, parent]
                parents[r, i] = parent
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return {"parents": parents, "position_ids": seen.sum(2) - 1, "attention_mask": mask[:, None]}


def _joined(asked: Row, answered: Row, longest: int) -> Row:
    """The prompt of one row with all that comes after the prompt of another."""
    prompt, start = asked.input_ids[: _first(asked)], _first(answered)
    ids, weights = prompt + answered.input_ids[start:], [0.0] * len(prompt) + answered.weights[start:]
    return Row(ids[:longest], weights[:longest])


def _first(row: Row) -> int:
    return next((i for i, w in enumerate(row.weights) if w), len(row.weights))
