"""Supervised fine-tuning on weighted rows, by TRL's `SFTTrainer`: full weights or LoRA, resumable at any step.

Rows arrive tokenised and weighted, so TRL prepares nothing. What the loss is, with its normaliser, and what an objective can
change stands in `objectives.base`.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from pydantic import field_validator
from trl import SFTConfig, SFTTrainer

from agentgym import UserError

from .base import Training, fit, open_model, pad_id
from .batches import branched, padded
from .losses import action_logps
from .objectives import Batch, Objective, Scored, parse
from .rows import Row

IGNORED = -100  # the label of what is not trained on


class Sft(Training):
    """How to fine-tune; what is not named here is as in `Training`.

    Attributes:
        objectives: Names of `objectives.OBJECTIVES` with their options, as in ``tl-training:maximum=5``, in their order. Those
        that
            choose, rewrite or weigh do so when rows are made: see `rows.training_rows`.
    """

    objectives: tuple[str, ...] = ()

    @field_validator("objectives")
    @classmethod
    def _exist(cls, objectives: tuple[str, ...]) -> tuple[str, ...]:
        parse(objectives)
        return objectives


def train_sft(model_dir: Path, rows: Sequence[Row], out_dir: Path, config: Sft, *, resume: bool = False) -> dict[str, float]:
    """Fine-tune a model on rows and save it, with its tokenizer, as a model directory (an adapter directory with LoRA).

    Args:
        model_dir: The model to begin with.
        rows: What to learn; see `agentgym_training.rows`.
        out_dir: Where the model, checkpoints and ``metrics.jsonl`` (step, loss, lr, tokens/s) go.
        config: How.
        resume: Go on from the last checkpoint in `out_dir`, if there is one.

    Returns:
        ``steps``, ``loss`` (mean over the last tenth of what was logged, in weighted nats a trained token), ``tokens``,
        ``seconds`` and ``tokens_per_second`` (of this run).

    Raises:
        UserError: no rows, a weight that is negative or not finite, no model, or a training to be resumed that was another one.
    """
    if not rows:
        raise UserError("there are no rows to train on: collect more, or select less strictly")
    if any(not 0 <= w < math.inf for r in rows for w in r.weights):
        raise UserError("loss weights are finite and at least 0: mend the objective that wrote others")
    objectives = parse(config.objectives)
    model, tokenizer = open_model(model_dir)
    usual = all(w in (0.0, 1.0) for r in rows for w in r.weights) and all(r.parents is None for r in rows)
    usual = usual and not any(o.has("inputs", "loss") for o in objectives)
    out_dir = Path(out_dir)

    def finish(trained: Any) -> None:
        for objective in objectives:
            objective.finish(trained, out_dir)

    return fit(
        partial(_Trainer, objectives, config.seed, usual),
        SFTConfig,
        model,
        tokenizer,
        Collator(rows, pad_id(tokenizer)),
        rows=[(r.input_ids, r.weights, r.logprobs, r.stage, r.parents) for r in rows],
        lengths=[len(r.input_ids) for r in rows],
        stages=[r.stage for r in rows],
        callbacks=[_Gradients(objectives)] if any(o.has("gradients") for o in objectives) else [],
        finish=finish,
        config=config,
        out_dir=out_dir,
        resume=resume,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


class _Trainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer with weights, objectives, and a lean loss where there is no GPU.

    TRL's fused head runs on Triton for the labelled positions alone; without it, it scores all positions and their entropies,
    which halves the speed of a nano policy. It knows labels and no weights.
    """

    def __init__(self, objectives: Sequence[Objective], seed: int, usual: bool, **options: Any) -> None:
        self.objectives, self.usual = objectives, usual
        self.loss = next((o for o in objectives if o.has("loss")), Objective()).loss
        super().__init__(**options)
        for objective in objectives:
            objective.prepare(self.model, seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch; see `objectives.base`."""
        extra = {k: inputs.pop(k) for k in ("weights", "ref_logps", "lengths")}
        batch = Batch(inputs["input_ids"], **extra, progress=self.state.global_step / max(1, self.state.max_steps))
        if self.usual and (torch.cuda.is_available() or return_outputs):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given: dict[str, torch.Tensor] = {k: v for k, v in inputs.items() if k in ("input_ids", "position_ids", "attention_mask")}
        for objective in self.objectives:
            given = objective.inputs(model, given, batch)
        columns = 1 + (batch.weights[:, 1:] != 0).any(0).nonzero()[:, 0]  # of ids that have a weight in some row
        logits = self._logits(model, given, inputs.get("parents"), columns, batch.input_ids.shape[1])
        weights = batch.weights[:, columns]
        logps = action_logps(logits, batch.input_ids[:, columns], weights != 0)
        tokens = (weights != 0).sum() if num_items_in_batch is None else num_items_in_batch
        return self.loss(Scored(logps, batch.ref_logps[:, columns], weights, tokens))

    def _logits(self, model: Any, given: Any, parents: torch.Tensor | None, columns: torch.Tensor, length: int) -> torch.Tensor:
        """What the model says at those positions that predict the ids in `columns`, (R, C, V)."""
        before = given["position_ids"].shape[1] - length  # what an objective put before the rows
        if parents is None:
            found: torch.Tensor = model(**given, use_cache=False, logits_to_keep=columns - 1 + before).logits
            return found
        kept, place = torch.unique(parents[:, columns], return_inverse=True)
        logits: torch.Tensor = model(**given, use_cache=False, logits_to_keep=kept).logits
        return logits.gather(1, place[..., None].expand(-1, -1, logits.shape[2]))


class _Gradients(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Lets objectives change gradients."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = objectives

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """After the gradients were clipped."""
        for objective in self.objectives:
            objective.gradients(model, state.global_step / max(1, state.max_steps))


class Collator:
    """Puts rows into a batch.

    Attributes:
        tokens: How many real tokens were handed out.
    """

    def __init__(self, rows: Sequence[Row], pad: int) -> None:
        self.rows = rows
        self.pad = pad
        self.tokens = 0

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``labels``, ``position_ids``, ``weights``, ``ref_logps`` (R, L), ``lengths`` (R,); see `branched`."""
        rows = [self.rows[b["row"]] for b in batch]
        lengths = torch.tensor([len(r.input_ids) for r in rows])
        self.tokens += int(lengths.sum())
        made = padded(rows, self.pad)
        labels = made["input_ids"].masked_fill(made.pop("completion_mask") == 0, IGNORED)
        return made | branched(rows) | {"labels": labels, "lengths": lengths}
