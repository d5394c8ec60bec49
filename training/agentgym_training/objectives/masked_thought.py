"""Masked Thought (Chen et al. 2024, arXiv:2403.02178, section 3): some of the reasoning's input ids are hidden, the targets stay.

``L = - sum over t of log pi(y_t | x, masked(y_<t))``: each of the agent's own ids is, as an input, replaced with probability p by
a random id of the vocabulary (the paper's [mask] token and random ids did about alike; a mask token would be a new one to every
model). p rises from 0 to `p` over the first `warmup` of the training.

Ids that carry no loss, such as requests and answers of tools, are never hidden.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentgym import UserError

from .base import Batch, Objective


@dataclass(frozen=True)
class MaskedThought(Objective):
    """Hide some of the agent's own ids from it.

    Attributes:
        p: Share of hidden ids; 0.4 in the paper's best runs.
        warmup: Share of the training over which it is reached; 2/3 in the paper.
    """

    p: float = 0.4
    warmup: float = 2 / 3

    def inputs(self, model: Any, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Ids, some of them random."""
        if "input_ids" not in inputs:
            raise UserError("maskedthought hides ids: name it before objectives that change embeddings")
        ids = inputs["input_ids"]
        p = self.p * min(1.0, batch.progress / self.warmup) if self.warmup else self.p
        hidden = (torch.rand(ids.shape, device=ids.device) < p) & (batch.weights > 0)
        return inputs | {"input_ids": torch.where(hidden, torch.randint_like(ids, model.config.vocab_size), ids)}
