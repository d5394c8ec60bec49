"""AgentRefine (Fu et al. 2025, arXiv:2501.01702, section 3.2): no loss on the turns that the environment called wrong.

``L = - sum over turns i of 1[turn i was not answered by an error] x log pi(turn i | what came before)``. The wrong turn and what
the environment said to it stay in the context, so the turn that mends it is learnt with its cause in sight.

Departure: what the paper has a verifier say is here what the environment recorded as the agent's mistake; its perturbed
environments are a matter of collecting.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agentgym_trajectories.rows import Example

from .base import Objective


@dataclass(frozen=True)
class AgentRefine(Objective):
    """Learn nothing from turns with mistakes, and all from those that mend them."""

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """The same with weight 0 on mistakes."""
        return map(without_mistakes, examples)


def without_mistakes(example: Example) -> Example:
    """The example with weight 0 on each action that was a mistake."""
    wrong = {n.id: 0.0 for n in example.trajectory.actions if n.errors}
    return replace(example, nodes={**example.nodes, **wrong}) if wrong else example
