"""Data Whisperer (Wang et al. 2025, arXiv:2505.12212): a good example is one that helps as a demonstration. Nothing is trained.

``score(x) = mean over queries q of [mean log p(q's actions | demonstration x) - mean log p(q's actions)]``, queries drawn from
the same set.

Departures: the paper has the model answer the queries after several demonstrations, scores the answers, and divides the score
among the demonstrations by attention; with one demonstration at a time there is nothing to divide, and a likelihood says more
than a right or wrong answer of a small model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentgym_trajectories.rewrite import linear
from agentgym_trajectories.rows import Example
from agentgym_trajectories.scorer import Floats
from agentgym_trajectories.select.ranked import ByModel, mean_logprobs
from agentgym_trajectories.tree import Node, Trajectory


@dataclass(frozen=True, kw_only=True)
class Whisperer(ByModel):
    """Keep the share `keep` that helps `model` most as demonstrations before `queries` others."""

    queries: int = 4
    seed: int = 0

    def scores(self, items: Sequence[Trajectory]) -> Floats:
        """How much each helps, in nats an id."""
        rng = np.random.default_rng(self.seed)
        asked = [items[i] for i in rng.choice(len(items), min(self.queries, len(items)), replace=False)]
        alone = mean_logprobs(self.scorer, asked)
        helped = mean_logprobs(self.scorer, [_shown(x, q) for x in items for q in asked]).reshape(len(items), len(asked))
        own = np.array([[x is q for q in asked] for x in items])  # nothing helps like the answer itself
        gain = np.where(own, 0.0, helped - alone)
        return np.asarray(gain.sum(1) / (~own).sum(1).clip(min=1))


def _shown(demonstration: Trajectory, query: Trajectory) -> Example:
    """The query after the demonstration, in one conversation; only the query's actions have a weight."""
    first = query.nodes[0]
    asked = [m for m in first.messages if m.role != "system"]
    told = Node(0, 0, "observation", tuple(asked))
    both = linear(query.episode, [*demonstration.nodes, told, *query.nodes[1:]])
    return Example(both, nodes={n.id: 0.0 for n in both.nodes[: len(demonstration.nodes)]})
