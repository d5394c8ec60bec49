"""EDGE (Zhang et al. 2025, arXiv:2502.12494): keep what a guideline helps least with, since the guideline does not cover it.

``guideline effectiveness = mean log p(actions | guideline, task) - mean log p(actions | task)``; the lowest are kept: they carry
what is not in the guideline yet.

Departure: the paper measures the effect on rewards of rolled-out episodes; this is the effect on the likelihood of recorded ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agentgym import UserError
from agentgym_trajectories.rewrite import conditioned
from agentgym_trajectories.rows import Example
from agentgym_trajectories.scorer import Floats
from agentgym_trajectories.select.ranked import ByModel, mean_logprobs
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True, kw_only=True)
class Edge(ByModel):
    """Keep the share `keep` whose actions become least likely to `model` by the text of the file `guideline`."""

    guideline: Path

    def scores(self, items: Sequence[Trajectory]) -> Floats:
        """Minus the guideline's effect, in nats an id."""
        if not self.guideline.is_file():
            raise UserError(f"there is no guideline {self.guideline}: give a text file")
        text = self.guideline.read_text("utf-8")
        with_it = mean_logprobs(self.scorer, [conditioned(Example(t), text) for t in items])
        return np.asarray(mean_logprobs(self.scorer, items) - with_it)
