"""NEFTune (Jain et al. 2023, arXiv:2310.05914, algorithm 1): noise on the input embeddings while training.

``embedding + alpha / sqrt(L d) x u``, u uniform in [-1, 1], L the row's ids, d the width. L does not count padding, as in the
paper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Batch, Objective, embedded, instead


@dataclass(frozen=True)
class Neftune(Objective):
    """Add noise to embeddings.

    Attributes:
        alpha: Of the noise; 5 to 15 in the paper.
    """

    alpha: float = 5.0

    def inputs(self, model: object, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Embeddings with noise."""
        embeddings = embedded(model, inputs)
        noise = torch.rand_like(embeddings) * 2 - 1
        scale = self.alpha / (batch.lengths * embeddings.shape[2]).sqrt()
        return instead(inputs, embeddings + noise * scale[:, None, None])
