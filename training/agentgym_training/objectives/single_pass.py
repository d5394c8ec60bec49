"""Thinking over several turns, trained in a single pass (One-Pass to Reason, Goru et al. 2025, arXiv:2504.18246).

Ids are duplicated and masked. A template that drops earlier thoughts gives one sequence for each turn: history without thoughts,
then this turn's thought and answer. Read one by one, T turns cost T histories. Here all sequences of a trajectory are one row,
the tree of their prefixes: what they share stands there once, what differs (a turn with its thought, and the same turn without
it, as history) stands there twice, each id sees only the ids that it comes from, and its position counts these. Loss and
gradients are those of the several sequences.

It needs attention that takes a mask: full attention (``sdpa`` or ``eager``), no sliding windows, no recurrent states.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agentgym_trajectories.rows import Row

from .base import Objective


@dataclass(frozen=True)
class SinglePass(Objective):
    """Read all sequences of a trajectory at once."""

    def rows(self, rows: list[Row]) -> list[Row]:
        """One row for each trajectory."""
        return [merged(list(group)) for _, group in itertools.groupby(rows, key=lambda r: (r.source, r.stage, r.kind))]


def merged(rows: Sequence[Row]) -> Row:
    """The tree of the prefixes of several sequences as one row; what they share has the sum of its weights."""
    if len(rows) == 1:
        return rows[0]
    ids, weights, parents, logprobs = list[int](), list[float](), list[int](), list[float]()
    places: dict[tuple[int, int], int] = {}  # by the place of the id before, and the id
    for row in rows:
        at = -1
        for i, token in enumerate(row.input_ids):
            key, at = (at, token), places.setdefault((at, token), len(ids))
            if at == len(ids):
                ids.append(token)
                weights.append(0.0)
                parents.append(key[0])
                logprobs.append(0.0)
            weights[at] += row.weights[i]
            if row.logprobs is not None and row.weights[i]:
                logprobs[at] = row.logprobs[i]
    known = all(r.logprobs is not None for r in rows)
    return replace(rows[0], input_ids=ids, weights=weights, logprobs=logprobs if known else None, turns=(), parents=parents)
