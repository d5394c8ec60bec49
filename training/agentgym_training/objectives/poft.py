"""PoFT (Fan et al. 2024, arXiv:2412.12865, equation 6): prefer the target model to an aligned one on the same data.

``L = - mean over rows of log sigma(beta x (mean log pi - mean log p_aligned) + gamma)``, means over the row's weighted ids. A row
that the aligned model finds unlikely pulls less: the gradient's factor is ``sigma(beta (mean log p_aligned - mean log pi) -
gamma)``.

The aligned model scores the rows once, before the training. Departures: one aligned model, where the paper averages several; with
``reference=logged`` it is the one that sampled the trajectories, whose logprobs stand in the store.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor
from torch.nn.functional import logsigmoid

from agentgym import UserError
from agentgym_trajectories.rows import Row
from agentgym_trajectories.scorer import open_scorer

from .base import Objective, Scored


@dataclass(frozen=True)
class Poft(Objective):
    """Prefer the model to a reference on each row.

    Attributes:
        reference: "logged", or the directory of an aligned model with the same vocabulary.
        beta: Scale of the difference in nats a token.
        gamma: Added to it.
    """

    reference: str = "logged"
    beta: float = 1.0
    gamma: float = 0.0

    def rows(self, rows: list[Row]) -> list[Row]:
        """Rows with the reference's logprobs."""
        if self.reference != "logged":
            scored = open_scorer(Path(self.reference)).logprobs([r.input_ids for r in rows])
            return [replace(r, logprobs=[0.0, *s]) for r, s in zip(rows, scored, strict=True)]
        if unknown := sum(r.logprobs is None for r in rows):
            raise UserError(
                f"{unknown} of {len(rows)} rows have no logged logprobs: name a model, as in poft:reference=DIRECTORY"
            )
        return rows

    def loss(self, scored: Scored) -> Tensor:
        """The mean over rows."""
        aligned = (scored.weights * scored.ref_logps).sum(1) / scored.weights.sum(1)
        return -logsigmoid(self.beta * (scored.mean - aligned) + self.gamma).mean()
