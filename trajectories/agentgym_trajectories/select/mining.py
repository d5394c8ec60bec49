"""Instruction Mining (Cao et al. 2023, arXiv:2307.06290): predict a tuned model's loss from cheap indicators.

``log loss = 1.0694 - 0.1498 Rew + 8.257e-5 Len - 0.9350 Knn_6``, the paper's fitted rule; what has the least predicted loss is
kept. Rew is a reward model's score (here the recorded reward), Len the answer's ids, Knn_6 the distance to the sixth nearest
neighbour among embeddings.

The coefficients were fitted on general instructions with other embeddings; the paper's search for the best number of examples is
left to ``agentgym compare``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentgym_trajectories.scorer import Floats
from agentgym_trajectories.select.ranked import ByModel, embeddings, library
from agentgym_trajectories.tree import Trajectory

NEIGHBOUR = 6


@dataclass(frozen=True, kw_only=True)
class Mining(ByModel):
    """Keep the share `keep` with the least predicted loss; `model` gives embeddings and ids."""

    def scores(self, items: Sequence[Trajectory]) -> Floats:
        """Minus the predicted logarithm of the loss."""
        near = library("sklearn.neighbors", "scikit-learn")
        points = embeddings(self.scorer, items)
        neighbours = min(NEIGHBOUR, len(items) - 1)  # beside itself
        distances = near.NearestNeighbors(n_neighbors=neighbours + 1).fit(points).kneighbors(points)[0][:, -1]
        lengths = np.array([sum(r.trained for r in self.scorer.rows(t)) for t in items])
        rewards = np.array([t.reward for t in items])
        return np.asarray(-(1.0694 - 0.1498 * rewards + 8.257e-5 * lengths - 0.9350 * distances))
