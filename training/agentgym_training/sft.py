"""Supervised fine-tuning on weighted rows, by TRL's `SFTTrainer`: full weights or LoRA, resumable at any step.

Rows arrive tokenised and weighted, so TRL prepares nothing. What the loss is, with its normaliser, and what an objective can
change stands in `objectives.base`.
"""

import itertools
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
from .batches import padded, scored
from .losses import action_logps
from .objectives import Batch, Objective, Scored, parse
from .packing import Micro, pack, score, share, takes_trees, token_logps, trie
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
    usual = all(w in (0.0, 1.0) for r in rows for w in r.weights) and not any(o.has("inputs", "loss") for o in objectives)
    items: list[tuple[Row, ...]] = [(r,) for r in rows]
    collator: Collator | Trees = Collator(rows, pad_id(tokenizer))
    if any(o.together for o in objectives):
        items = [tuple(g) for _, g in itertools.groupby(rows, key=lambda r: (r.source, r.stage, r.kind))]
        collator = Trees(items, pad_id(tokenizer), trees=takes_trees(share(model)))
    out_dir = Path(out_dir)

    def finish(trained: Any) -> None:
        for objective in objectives:
            objective.finish(trained, out_dir)

    return fit(
        partial(_Trainer, objectives, config.seed, usual),
        SFTConfig,
        model,
        tokenizer,
        collator,
        rows=[(r.input_ids, r.weights, r.logprobs, r.stage) for r in rows],
        lengths=[len(trie([r.input_ids for r in item])[0]) for item in items],
        stages=[item[0].stage for item in items],
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
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch; see `objectives.base`."""
        progress = self.state.global_step / max(1, self.state.max_steps)
        if "micro" in inputs:
            return self._loss_of_trees(model, inputs["micro"].to(self.args.device), inputs, progress)
        extra = {k: inputs.pop(k) for k in ("weights", "ref_logps", "lengths")}
        batch = Batch(inputs["input_ids"], **extra, progress=progress)
        if self.usual and (torch.cuda.is_available() or return_outputs):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = self._inputs(model, {k: inputs[k] for k in ("input_ids", "position_ids")}, batch)
        columns = 1 + (batch.weights[:, 1:] != 0).any(0).nonzero()[:, 0]  # of ids that have a weight in some row
        before = given["position_ids"].shape[1] - batch.input_ids.shape[1]  # what an objective put before the rows
        logits = model(**given, use_cache=False, logits_to_keep=columns - 1 + before).logits
        weights = batch.weights[:, columns]
        logps = action_logps(logits, batch.input_ids[:, columns], weights != 0)
        tokens = (weights != 0).sum() if num_items_in_batch is None else num_items_in_batch
        return self.loss(Scored(logps, batch.ref_logps[:, columns], weights, tokens))

    def _inputs(self, model: Any, given: dict[str, Any], batch: Batch) -> dict[str, Any]:
        """What the model reads."""
        for objective in self.objectives:
            given = objective.inputs(model, given, batch)
        return given

    def _loss_of_trees(self, model: Any, micro: Micro, inputs: dict[str, torch.Tensor], progress: float) -> torch.Tensor:
        """The loss of sequences whose common beginnings go through the model once; m of their ids have a weight."""
        count, shape = len(micro.at), micro.input_ids.shape
        lengths = torch.bincount(micro.sequence)
        column = torch.arange(count, device=micro.at.device) - (lengths.cumsum(0) - lengths)[micro.sequence]

        def in_place(values: torch.Tensor) -> torch.Tensor:
            """From (m,) to the places of the ids in what is read."""
            return values.new_zeros(shape.numel()).index_put((micro.at,), values).view(shape)

        def by_sequence(values: torch.Tensor) -> torch.Tensor:
            """From (m,) to a row for each sequence."""
            return values.new_zeros(len(lengths), int(lengths.max())).index_put((micro.sequence, column), values)

        weights, ref_logps = inputs["weights"], inputs["ref_logps"]
        batch = Batch(micro.input_ids, in_place(weights), in_place(ref_logps), inputs["lengths"], progress)
        given = self._inputs(model, micro.inputs, batch)
        with self.accelerator.autocast():
            logps = score(model, micro, token_logps, given)
        return self.loss(Scored(by_sequence(logps), by_sequence(ref_logps), by_sequence(weights), count))


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
        """``input_ids``, ``labels``, ``position_ids``, ``weights``, ``ref_logps`` (R, L), ``lengths`` (R,)."""
        rows = [self.rows[b["row"]] for b in batch]
        lengths = torch.tensor([len(r.input_ids) for r in rows])
        self.tokens += int(lengths.sum())
        made = padded(rows, self.pad)
        labels = made["input_ids"].masked_fill(made.pop("completion_mask") == 0, IGNORED)
        return made | {"labels": labels, "lengths": lengths}


class Trees:
    """Puts the sequences of several items into a batch, so that what they begin with in common is read once.

    Attributes:
        tokens: How many tokens were handed out, each sequence counting whole.
    """

    def __init__(self, items: Sequence[Sequence[Row]], pad: int, *, trees: bool) -> None:
        self.items, self.pad, self.trees = items, pad, trees
        self.tokens = 0

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Any]:
        """A `packing.Micro` of m ids with a weight as ``micro``, ``weights`` and ``ref_logps`` (m,), ``lengths`` of `Batch`."""
        rows = [row for b in batch for row in self.items[b["row"]]]
        sequences = scored(rows)
        lengths = torch.tensor([float(len(r.input_ids)) for r in rows])
        self.tokens += int(lengths.sum())
        at = [(r, int(i)) for r, s in zip(rows, sequences, strict=True) for i in s.at]
        return {
            "micro": pack(sequences, self.pad, trees=self.trees),
            "weights": torch.tensor([r.weights[i] for r, i in at]),
            "ref_logps": torch.tensor([r.logprobs[i] if r.logprobs else 0.0 for r, i in at]),
            "lengths": lengths.mean(0, keepdim=True) if self.trees else lengths,
        }
