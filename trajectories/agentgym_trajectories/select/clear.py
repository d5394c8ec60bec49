"""CLEAR (Chen & Mueller 2024, arXiv:2403.12776): drop what a model is unsure of; replace what another attempt does better.

The paper's confidence (BSDetector) is a mixture of observed consistency, how much k samples of the model agree with the answer,
and of the model's own reflection. Here it is the consistency alone, in closed form: the probability that a sample equals the
turn, ``p(turn) = exp(sum of log p(id))``, which exact agreement tends to as k grows. A trajectory is as sure as its least sure
turn.

Auto-filter: those under the quantile ``1 - keep`` of confidence are dropped (the paper: under the median). Auto-correct: where
another attempt at the same task is preferred with confidence ``c' / (c + c') >= better``, it replaces this one. The paper has the
tuned model write the replacement, one-turn; attempts that were recorded work with many turns too.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agentgym_trajectories.select.base import Drop
from agentgym_trajectories.select.ranked import ByModel, best, task_of
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True, kw_only=True)
class Clear(ByModel):
    """Keep the share `keep` with the most confidence under `model`, of attempts at one task only what none is preferred to."""

    better: float = 0.8

    def scores(self, items: Sequence[Trajectory]) -> list[float]:
        """Logarithms of the confidence."""
        return [min(float(turn.sum()) for turn in turns) for turns in self.scorer.turns(items)]

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Reads all first."""
        given = list(items)
        scores = self.scores(given) if given else []
        leader: dict[tuple[str, str, str], int] = {}
        for i, t in enumerate(given):
            first = leader.setdefault(task_of(t), i)
            if scores[i] > scores[first]:
                leader[task_of(t)] = i
        left: list[int] = []
        for i, t in enumerate(given):
            other = leader[task_of(t)]
            preferred = 1 / (1 + math.exp(min(700.0, scores[i] - scores[other])))
            if other != i and preferred >= self.better:
                drop(t, f"replaced by episode {given[other].episode.id}, preferred with {preferred:.2f}")
            else:
                left.append(i)
        if left:
            yield from best([given[i] for i in left], [scores[i] for i in left], round(self.keep * len(left)), drop)
