"""GRAPE (Zhang et al. 2025, arXiv:2502.04194): of several answers keep the one that the model to be trained finds most likely.

``argmax over the task's answers y of mean log p(id of y)``, normalised by length, under the model before training: what is near
to what it would say itself is learnt with the least change.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agentgym_trajectories.scorer import open_scorer
from agentgym_trajectories.select.base import Drop, Selector
from agentgym_trajectories.select.ranked import mean_logprobs, task_of
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True, kw_only=True)
class Grape(Selector[Trajectory]):
    """Of each task keep the `samples` attempts that `model` finds most likely."""

    model: Path
    samples: int = 1

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Reads all first; the order stays."""
        given = list(items)
        if not given:
            return
        scores = mean_logprobs(open_scorer(self.model), given)
        groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for i, t in enumerate(given):
            groups[task_of(t)].append(i)
        kept = {
            i for group in groups.values() for i in np.array(group)[np.argsort(-scores[group], kind="stable")][: self.samples]
        }
        for i, t in enumerate(given):
            if i in kept:
                yield t
            else:
                drop(t, f"{-scores[i]:.3g} nats an id, another attempt has less")
