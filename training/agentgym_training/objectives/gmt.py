"""Gradient-mask tuning (Li et al. 2024, arXiv:2406.15330, algorithm 1): only the largest gradients update anything.

Of each tensor the share `keep` of its elements with the largest ``|gradient|`` of the step keeps its gradient, the others have 0.
The optimizer's moments see the masked gradients; weights whose gradient was 0 from the beginning do not move.

The paper accumulates gradients over a number of batches before it masks; a step's batch is that accumulation here.
"""

from dataclasses import dataclass
from typing import Any

from agentgym import UserError

from .base import Objective


@dataclass(frozen=True)
class Gmt(Objective):
    """Mask small gradients.

    Attributes:
        keep: Share of each tensor's elements that keep their gradient.
    """

    keep: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise UserError(f"gmt keeps a share over 0 and up to 1 of the gradients, not {self.keep:g}")

    def gradients(self, model: Any, progress: float) -> None:
        """Set all but the largest to 0."""
        for parameter in model.parameters():
            if parameter.grad is not None:
                size = parameter.grad.abs().flatten()
                count = max(1, round(self.keep * size.numel()))
                least = size.kthvalue(size.numel() - count + 1).values
                parameter.grad.masked_fill_(parameter.grad.abs() < least, 0.0)
