"""Perplexity (Marion et al. 2023, arXiv:2309.04564): keep what a model finds likely, unlikely, or in between.

``perplexity = exp(- mean log p(id))`` over the agent's own ids, each given all before it. A trajectory that is wrong somewhere is
a surprise to a model that knows the task a little; to one that does not, everything is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agentgym_trajectories.scorer import Floats
from agentgym_trajectories.select.ranked import ByModel, mean_logprobs
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True, kw_only=True)
class Perplexity(ByModel):
    """Keep the share `keep` by perplexity under `model`: the `low`, `middle` or `high` part."""

    part: Literal["low", "middle", "high"] = "low"

    def scores(self, items: Sequence[Trajectory]) -> Floats:
        """Minus the perplexity, or how near it is to the median, or the perplexity."""
        logps = mean_logprobs(self.scorer, items)
        if self.part == "middle":
            rank = np.argsort(np.argsort(logps))
            return np.asarray(-np.abs(rank - (len(rank) - 1) / 2))
        return logps if self.part == "low" else -logps
