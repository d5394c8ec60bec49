"""C-RLFT of OpenChat (Wang et al. 2023, arXiv:2309.11235, equations 3 to 5): class-conditioned, with coarse weights by source.

``L = - E[r_c(x, y) x log pi(y | x, c)]`` with ``r_c = 1`` for the expert source and ``alpha < 1`` for others, and a class c in
the prompt; the expert's is asked for afterwards.

Departure: the expert's class is said by saying nothing, so that any environment plays the policy as an expert.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agentgym_trajectories.rewrite import conditioned
from agentgym_trajectories.rows import Example

from .base import Objective


@dataclass(frozen=True)
class CRlft(Objective):
    """Learn from an expert source fully, from others less and under another class.

    Attributes:
        expert: The policy version of the expert's episodes, up to an ``@``.
        alpha: Weight of the others; 0.1 in the paper.
        other: The line that stands before the others.
    """

    expert: str = "oracle"
    alpha: float = 0.1
    other: str = "Act as another agent would."

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Each, weighted and conditioned by who played it."""
        for example in examples:
            if example.trajectory.episode.version.partition("@")[0] == self.expert:
                yield example
            else:
                yield conditioned(replace(example, weight=example.weight * self.alpha), self.other)
