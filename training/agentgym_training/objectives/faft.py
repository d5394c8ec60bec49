"""Failure-aware fine-tuning (negative-aware training; Wang et al. 2024, arXiv:2402.11651, section 3): learn from both.

Good and bad trajectories are trained on alike, ``L = -log pi(actions | task, good or bad)``; the agent is then asked for good
ones.

Departure: the paper adds a line to both; here a good trajectory has none, so that any environment plays the policy as a good one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agentgym_trajectories.rewrite import conditioned
from agentgym_trajectories.rows import Example

from .base import Objective


@dataclass(frozen=True)
class Faft(Objective):
    """Learn from successes, and from failures after a line that says so.

    Attributes:
        bad: That line.
        min: The reward from which on a trajectory is good.
    """

    bad: str = "Fail at this task."
    min: float = 1.0

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Each, the failures conditioned."""
        for example in examples:
            yield example if example.trajectory.reward >= self.min - 1e-9 else conditioned(example, self.bad)
