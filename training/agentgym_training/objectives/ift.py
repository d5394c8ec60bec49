"""Intuitive fine-tuning (Hua et al. 2024, arXiv:2405.11870, section 4): the model trains on a mixture with its own predictions.

Temporal residual connection: the embedding of each of the agent's ids is ``(1 - lambda) x gold + lambda x predicted``, the
prediction being the likeliest id after the gold ones, found without a gradient. Dynamic relation propagation: an id's loss is
weighted by what comes of it, ``v_t = sum over i >= t of gamma^(i - t) x loss_i``, without a gradient and scaled to mean 1 over
the row:

    L = mean over rows of [sum over t of v_t x w_t x -log pi(t) / number of the row's weighted ids].

This is the authors' public code with its weights propagated from later to earlier ids; embeddings are the model's own instead of
a frozen copy of them, and lambda is constant.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .base import Batch, Objective, Scored, embedded, instead


@dataclass(frozen=True)
class Ift(Objective):
    """Train on own predictions mixed into the input.

    Attributes:
        mix: Lambda.
        gamma: Discount of later losses.
    """

    mix: float = 0.2
    gamma: float = 0.95

    def inputs(self, model: Any, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Mixed embeddings."""
        with torch.no_grad():
            likeliest = model(input_ids=batch.input_ids, position_ids=inputs["position_ids"], use_cache=False).logits.argmax(-1)
        predicted = torch.where(batch.weights[:, 1:] > 0, likeliest[:, :-1], batch.input_ids[:, 1:])
        gold = embedded(model, inputs)
        other = torch.cat([gold[:, :1], model.get_input_embeddings()(predicted)], 1)
        return instead(inputs, (1 - self.mix) * gold + self.mix * other)

    def loss(self, scored: Scored) -> Tensor:
        """Losses by what comes of them."""
        losses = -scored.weights * scored.logps  # (R, C)
        on = scored.weights > 0
        influence = discounted(losses.detach(), on, self.gamma)
        count = on.sum(1)
        influence = influence * (count / influence.sum(1).clamp(min=1e-12))[:, None]
        return ((influence * losses).sum(1) / count).mean()


def discounted(losses: Tensor, on: Tensor, gamma: float) -> Tensor:
    """For each weighted id the discounted sum of its loss and those of later weighted ids, (R, C); 0 elsewhere.

    Args:
        losses: (R, C).
        on: (R, C), whether the id has a weight; what has none takes no time.
        gamma: In [0, 1].
    """
    rank = on.cumsum(1)  # (R, C)
    ahead = rank[:, None, :] - rank[:, :, None]  # (R, C, C): how many weighted ids later
    later = (ahead >= 0) & on[:, None, :] & on[:, :, None]
    powers = torch.where(later, gamma ** ahead.clamp(min=0).to(losses.dtype), torch.zeros((), dtype=losses.dtype))
    return torch.einsum("rts,rs->rt", powers, losses)
