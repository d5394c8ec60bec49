"""LeTI (Wang et al. 2023, arXiv:2305.10314, section 2): learn from textual interaction.

Each example is [reward token, instruction, solution, feedback], the feedback only where the solution failed, under the plain loss
of a language model; iterated in rounds with the policy's own solutions.

Departures: the reward token is a line in the system message, and a good solution has none, so that any environment plays the
policy as a good one. The instruction has no loss (it is the environment's and the same in every round). The feedback is what the
environment says after a mistake, and at the end of a failed episode the parts of its reward in words.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agentgym import user
from agentgym_trajectories.rewrite import conditioned, linear
from agentgym_trajectories.rows import Example
from agentgym_trajectories.tree import Node, Trajectory

from .base import Objective


@dataclass(frozen=True)
class Leti(Objective):
    """Learn from successes and failures, and to foresee what is said to mistakes.

    Attributes:
        bad: The line that stands before a failure.
        feedback: Weight of the feedback's ids.
    """

    bad: str = "This attempt fails."
    feedback: float = 1.0

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Successes as they are; failures after their line, with feedback."""
        for example in examples:
            if example.trajectory.success:
                yield example
            else:
                yield conditioned(self._with_feedback(example), self.bad)

    def _with_feedback(self, example: Example) -> Example:
        t = example.trajectory
        if len(t.branches) > 1:  # a rewritten history has no one conversation to be gone on with
            return example
        judged = linear(t.episode, [*t.nodes, Node(0, 0, "observation", (user(verdict(t)),))])
        weights = {
            new.id: example.nodes[old.id] for new, old in zip(judged.nodes, t.nodes, strict=False) if old.id in example.nodes
        }
        answers = {n.id: self.feedback for n in judged.nodes[1:] if n.kind == "observation" and judged.nodes[n.parent].errors}
        return replace(example, trajectory=judged, nodes=weights | answers | {judged.leaf.id: self.feedback})


def verdict(trajectory: Trajectory) -> str:
    """What an environment would say of a failure: the parts of its last reward."""
    parts = ", ".join(f"{name} {value:g}" for name, value in sorted(trajectory.leaf.rewards.items()))
    return f"This is wrong: {parts}." if parts else "This is wrong."
