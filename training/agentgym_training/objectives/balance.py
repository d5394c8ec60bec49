"""Weights by which kinds of rows count as much as they should, however many tokens each has."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from agentgym_trajectories.rows import Row


def balanced(rows: Sequence[Row], shares: Mapping[str, float]) -> list[Row]:
    """Scale the weights of each kind so that its weights sum to its share of all trained ids.

    The mean weight over all trained ids is then 1, and the loss of an epoch is ``sum over kinds k of share_k x mean_k`` where
    ``mean_k`` is the mean of kind k by its own weights.

    Args:
        rows: Of all kinds.
        shares: Of each kind, 1 where it is not named; they are divided by the sum of those that occur.
    """
    sums = {kind: sum(sum(r.weights) for r in rows if r.kind == kind) for kind in {r.kind for r in rows}}
    total, whole = sum(r.trained for r in rows), sum(shares.get(kind, 1.0) for kind in sums)
    factors = {kind: shares.get(kind, 1.0) / whole * total / weight for kind, weight in sums.items()}
    return [replace(r, weights=[w * factors[r.kind] for w in r.weights]) for r in rows]
