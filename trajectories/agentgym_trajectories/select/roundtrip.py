"""Round trip: the request has to be found again in what was done for it (back-translation; Li et al. 2023, arXiv:2308.06259).

``score = mean log p(request | what was done) - mean log p(request | nothing)`` under a model that reads what was done as a user's
message and writes the request as its answer. What was done for another request, or for none, tells nothing of this one.

Departure: the paper trains a model for the way back; here any model serves that can tell what it read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentgym import assistant, user
from agentgym_trajectories.rewrite import linear, transcript
from agentgym_trajectories.scorer import Floats
from agentgym_trajectories.select.ranked import ByModel, mean_logprobs
from agentgym_trajectories.tree import Node, Trajectory


@dataclass(frozen=True, kw_only=True)
class RoundTrip(ByModel):
    """Keep the share `keep` whose request `model` finds again best in what was done."""

    def scores(self, items: Sequence[Trajectory]) -> Floats:
        """What is told of the request, in nats an id."""
        told = mean_logprobs(self.scorer, [_back(t, transcript([m for n in t.nodes[1:] for m in n.messages])) for t in items])
        return np.asarray(told - mean_logprobs(self.scorer, [_back(t, "") for t in items]))


def _back(trajectory: Trajectory, done: str) -> Trajectory:
    asked = "\n".join(m.content for m in trajectory.nodes[0].messages if m.role == "user")
    turns = [Node(0, 0, "observation", (user(done),)), Node(0, 0, "action", (assistant(asked),))]
    return linear(trajectory.episode, turns)
