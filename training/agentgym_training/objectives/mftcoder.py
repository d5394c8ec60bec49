"""MFTCoder (Liu et al. 2023, arXiv:2311.02303, equation 2): every task counts alike, however much data it has.

``L = 1/N sum over N tasks of [sum of -log pi over the task's tokens / their number]``. A task is an environment, or what another
objective calls a kind. The paper takes both sums over a batch; here they are over the whole set, so that a batch with few tokens
of a task does not make them loud. Its focal variants are left out.
"""

from dataclasses import dataclass

from agentgym_trajectories.rows import Row

from .balance import balanced
from .base import Objective


@dataclass(frozen=True)
class Mftcoder(Objective):
    """Give all environments the same weight."""

    def rows(self, rows: list[Row]) -> list[Row]:
        """Weights divided by each kind's own sum."""
        return balanced(rows, {r.kind: 1.0 for r in rows})
