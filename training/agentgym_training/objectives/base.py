"""What an objective of supervised fine-tuning is: a frozen dataclass whose fields are its options, and a few hooks.

Seven hooks hold all methods; each does nothing unless a method says otherwise, and several objectives work one after the other:

==============  ===========================================  ==========================================================
hook            says                                         who uses it
==============  ===========================================  ==========================================================
``examples``    what is learnt from, how much, and when      mixing, conditioning, rewriting, curricula, masking of turns
``weigh``       how the ids of one turn differ in weight     TL-Training, rationales
``rows``        all rows, once their tokens are known        balancing, reference scores
``prepare``     which parameters are trained                 HFT, ProMoT
``inputs``      what the model reads of a batch              noise, masked thoughts, predicted embeddings, soft prompts
``loss``        the loss of a batch                          PoFT, IFT
``gradients``   what is left of the gradients                GMT, ProMoT (and ``finish``, to take the prompt out again)
==============  ===========================================  ==========================================================

The first three only write rows: a trainer does not see that there was an objective. The loss, unless an objective has its own, is

    sum over the batch of  weight x -log pi(id)  /  number of ids in the batch whose weight is not 0.

The normaliser counts ids and does not sum weights: a row with weight 0.1 pulls a tenth as hard as another whatever else is in
its batch, also when it is alone there. With weights of 0 and 1 this is the usual mean.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from agentgym_trajectories.rows import Example, Row, Turn


@dataclass(frozen=True)
class Batch:
    """R rows of at most L ids; sequences that go through the model as a tree are one row.

    Attributes:
        input_ids: (R, L), padded on the right.
        weights: (R, L), 0 on padding.
        ref_logps: (R, L), what the rows' ids were worth elsewhere, 0 off the weights.
        lengths: (R,), how many ids each row has without its padding; of a tree the mean over its sequences.
        progress: Share of the training's steps that are done, in [0, 1).
    """

    input_ids: Tensor
    weights: Tensor
    ref_logps: Tensor
    lengths: Tensor
    progress: float


@dataclass(frozen=True)
class Scored:
    """What a model says of R rows at the C columns in which some row has a weight.

    Attributes:
        logps: (R, C), log-probabilities of the ids in nats, 0 off the weights.
        ref_logps: (R, C), see `Batch`.
        weights: (R, C).
        tokens: How many ids of the step have a weight.
    """

    logps: Tensor
    ref_logps: Tensor
    weights: Tensor
    tokens: Tensor | int

    @property
    def mean(self) -> Tensor:
        """The mean log-probability of each row, (R,), by its weights."""
        return (self.weights * self.logps).sum(1) / self.weights.sum(1)


class Objective:
    """A way to learn from trajectories.

    Attributes:
        together: The rows of a trajectory stand in the same batch, and batches go through the model as trees: see `packing`.
    """

    together: ClassVar[bool] = False

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """What is learnt from instead of `examples`."""
        return examples

    def weigh(self, turn: Turn) -> Sequence[float]:
        """Factors for the weights of a turn's m ids."""
        return [1.0] * len(turn.ids)

    def rows(self, rows: list[Row]) -> list[Row]:
        """All rows, weighted anew."""
        return rows

    def prepare(self, model: Any, seed: int) -> None:
        """Choose what is trained, before the optimizer is made."""

    def inputs(self, model: Any, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """What the model is given: ``input_ids`` (R, L) or ``inputs_embeds`` (R, P + L, d), and ``position_ids``."""
        return inputs

    def loss(self, scored: Scored) -> Tensor:
        """The loss of a batch, a scalar."""
        return -(scored.weights * scored.logps).sum() / scored.tokens

    def gradients(self, model: Any, progress: float) -> None:
        """Change the gradients before a step of the optimizer."""

    def finish(self, model: Any, out_dir: Path) -> None:
        """Take out of the model what was for the training alone, before it is saved."""

    def has(self, *hooks: str) -> bool:
        """Whether it has one of these hooks of its own."""
        return any(getattr(type(self), hook) is not getattr(Objective, hook) for hook in hooks)


def embedded(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The embeddings that the model would be given, (R, L, d)."""
    if "inputs_embeds" in inputs:
        return inputs["inputs_embeds"]
    found: Tensor = model.get_input_embeddings()(inputs["input_ids"])
    return found


def instead(inputs: dict[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
    """`inputs` with these embeddings instead of ids; where there are more of them, positions are counted anew."""
    others = {k: v for k, v in inputs.items() if k not in ("input_ids", "inputs_embeds")}
    if embeddings.shape[1] > inputs["position_ids"].shape[1]:
        others["position_ids"] = torch.arange(embeddings.shape[1], device=embeddings.device).expand(len(embeddings), -1)
    return others | {"inputs_embeds": embeddings}
