"""Diversify and Conquer (Yu et al. 2024, arXiv:2409.11378): k-means first, then samples of the clusters that prove good.

In each of `rounds` rounds a part of the budget is drawn, from cluster j with weight ``w_j``; what was drawn is scored, and the
weights become ``w_j x s_j``, normalised, with ``s_j`` the mean score of cluster j's draws. Clusters of noise are drawn from less
and less.

Departures: the paper trains a model each round and scores its answers against the gold ones (by perplexity, a reward model or a
judge); here one model scores the gold ones, ``s = exp(mean log p(id))``, the perplexity variant without training in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentgym_trajectories.scorer import Floats
from agentgym_trajectories.select.ranked import ByModel, embeddings, library, mean_logprobs
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True, kw_only=True)
class Diversify(ByModel):
    """Keep a share `keep` from `clusters` clusters of the embeddings of `model`, reweighted in each of `rounds` rounds."""

    clusters: int = 8
    rounds: int = 3
    seed: int = 0

    def scores(self, items: Sequence[Trajectory]) -> Floats:
        """1 for what was drawn, 0 for the rest."""
        clustering = library("sklearn.cluster", "scikit-learn")
        count = min(self.clusters, len(items))
        cluster = clustering.KMeans(count, n_init=4, random_state=self.seed).fit_predict(embeddings(self.scorer, items))
        quality, rng = np.exp(mean_logprobs(self.scorer, items)), np.random.default_rng(self.seed)
        weights, drawn = np.full(count, 1 / count), np.zeros(len(items))
        budget = max(1, round(self.keep * len(items)))
        for number in range(self.rounds):
            wanted = budget * (number + 1) // self.rounds - int(drawn.sum())
            chosen = _draw(cluster, weights, drawn, wanted, rng)
            drawn[chosen] = 1
            for j in set(cluster[chosen].tolist()):
                weights[j] *= quality[chosen][cluster[chosen] == j].mean()
            weights /= weights.sum()
        return drawn


def _draw(cluster: Floats, weights: Floats, drawn: Floats, wanted: int, rng: np.random.Generator) -> list[int]:
    """`wanted` items that were not drawn yet: a cluster by its weight, then any of its items, until it is empty."""
    left = {j: rng.permutation(np.flatnonzero((cluster == j) & (drawn == 0))).tolist() for j in range(len(weights))}
    chosen: list[int] = []
    while len(chosen) < wanted:
        able = [j for j in left if left[j]]
        shares = weights[able] / weights[able].sum()
        chosen.append(left[able[rng.choice(len(able), p=shares)]].pop())
    return chosen
