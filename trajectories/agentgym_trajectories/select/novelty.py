"""Novelty: keep what is unlike everything kept so far (k-centre greedy; Sener & Savarese 2018, arXiv:1708.00489).

Beginning with the trajectory nearest to the mean, each time the one is taken whose nearest taken neighbour is farthest away, by
Euclidean distance between embeddings of length 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentgym_trajectories.scorer import Floats
from agentgym_trajectories.select.ranked import ByModel, embeddings
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True, kw_only=True)
class Novelty(ByModel):
    """Keep the share `keep` that covers the embeddings of `model` best."""

    def scores(self, items: Sequence[Trajectory]) -> Floats:
        """Distances to what was taken before; 0 for what was not taken."""
        points = embeddings(self.scorer, items)
        scores = np.zeros(len(points))
        at = int(np.linalg.norm(points - points.mean(0), axis=1).argmin())
        nearest = np.full(len(points), np.inf)
        for _ in range(max(1, round(self.keep * len(points)))):
            scores[at] = nearest[at]
            nearest = np.minimum(nearest, np.linalg.norm(points - points[at], axis=1))
            nearest[scores > 0] = -1.0  # taken
            at = int(nearest.argmax())
        return scores
