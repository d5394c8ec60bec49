"""Easy to hard (curriculum learning; Bengio et al. 2009; iTool's warm-up, arXiv:2501.09766): what is easy is learnt first.

Levels are trained on one after the other, each example once an epoch: L is the usual loss, only the order differs. A level is a
difficulty of the tasks, the levels in the order of their mean number of turns; tasks that have none are put by their number of
turns into `levels` equal parts.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from agentgym_trajectories.rows import Example

from .base import Objective


@dataclass(frozen=True)
class EasyToHard(Objective):
    """Train on short tasks first.

    Attributes:
        levels: Where tasks have no difficulty of their own.
    """

    levels: int = 3

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Each in the stage of its level."""
        given = list(examples)
        turns = np.array([len(e.trajectory.actions) for e in given])
        named = [e.trajectory.episode.task.difficulty for e in given]
        if all(named):
            of: dict[str, list[int]] = defaultdict(list)
            for name, count in zip(named, turns.tolist(), strict=True):
                of[name].append(count)
            order = sorted(of, key=lambda name: float(np.mean(of[name])))
            stages = [order.index(name) for name in named]
        else:
            rank = np.argsort(np.argsort(turns, kind="stable"), kind="stable")
            stages = (rank * self.levels // max(1, len(given))).tolist()
        return [replace(e, stage=s) for e, s in zip(given, stages, strict=True)]
