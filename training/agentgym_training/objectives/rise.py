"""RISE (Qu et al. 2024, arXiv:2407.18219, equations 4 and 5): attempts at one task become a dialogue in which the agent improves.

From attempts with rewards r_1, r_2, ... comes one conversation: task, attempt, feedback, attempt, ... The loss is
reward-weighted: ``L = - sum over attempts k of exp(r_k / tau) x log pi(attempt k | all before)``, here with weights divided by
``exp(best / tau)``, so that the best attempt has weight 1.

Departures: the attempts are those of the run, worst first, instead of on-policy turns with an oracle's relabelling; only an
attempt that is better than all before it has a weight; equal rewards are tried once. A failed attempt without any better one is
left out. Attempts may have several turns.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from agentgym import user
from agentgym_trajectories.rewrite import linear
from agentgym_trajectories.rows import Example
from agentgym_trajectories.tree import Node

from .base import Objective


@dataclass(frozen=True)
class Rise(Objective):
    """Learn to improve on earlier attempts.

    Attributes:
        tau: Temperature of the weights, in units of the reward.
        feedback: What is said after an attempt that can be improved.
    """

    tau: float = 0.5
    feedback: str = "This is not right yet. Try again."

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """One for each task; tasks with a single attempt are weighted by its reward."""
        groups: dict[tuple[str, str], list[Example]] = {}
        for example in examples:
            episode = example.trajectory.episode
            groups.setdefault((episode.env, episode.task.id), []).append(example)
        best = max((e.trajectory.reward for group in groups.values() for e in group), default=0.0)
        for group in groups.values():
            yield from self._dialogue(group, best)

    def _dialogue(self, group: Sequence[Example], best: float) -> Iterable[Example]:
        single = [e for e in group if len(e.trajectory.branches) == 1]
        rising = list({e.trajectory.reward: e for e in sorted(single, key=lambda e: -e.trajectory.reward)}.values())[::-1]
        if len(rising) < 2:
            return [self._weighed(e, best) for e in rising if e.trajectory.success]
        turns: list[Node] = []
        weights: dict[int, float] = {}
        for number, example in enumerate(rising):
            weight = math.exp((example.trajectory.reward - best) / self.tau) if number else 0.0
            own = list(example.trajectory.nodes)
            if number:  # the task was told before
                turns.append(Node(0, 0, "observation", (user(self.feedback),)))
                own = own[1:]
            weights |= {len(turns) + i: weight * example.nodes.get(n.id, 1.0) for i, n in enumerate(own) if n.kind == "action"}
            turns += own
        return [replace(rising[-1], trajectory=linear(rising[-1].trajectory.episode, turns), nodes=weights)]

    def _weighed(self, example: Example, best: float) -> Example:
        return replace(example, weight=example.weight * math.exp((example.trajectory.reward - best) / self.tau))
