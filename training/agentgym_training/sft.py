"""Supervised fine-tuning on rows, by TRL's `SFTTrainer`: full weights or LoRA, resumable at any step.

Rows arrive tokenised and masked, so TRL prepares nothing. Two things are ours. The order of all rows is planned before the
first step (rows of like length together, so that little is padded), which makes a resumed training see exactly the batches
that it would have seen. And padding stands on the right without an attention mask: causal attention never looks there, and
the fast attention kernels stay usable.

Weights other than 0 and 1 are refused: TRL's loss knows labels, not weights.
"""

import hashlib
import json
import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import datasets
import torch
import transformers
from peft import LoraConfig, PeftModel
from pydantic import BaseModel, ConfigDict, Field
from trl import SFTConfig, SFTTrainer

from agentgym import UserError
from agentgym.sampling.transformers import load, without_peft_warning

from .rows import Row

log = logging.getLogger(__name__)
IGNORED = -100  # the label of what is not trained on


class Lora(BaseModel):
    """Train low-rank adapters on all linear layers instead of the weights (Hu et al. 2021)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)


class Sft(BaseModel):
    """How to fine-tune.

    Attributes:
        epochs: How often each row is seen, rounded to whole steps; not used when `max_steps` is given.
        max_steps: Steps of the optimizer.
        batch_size: Rows in a step.
        lr: Peak learning rate.
        schedule: How the learning rate falls after the warm-up.
        warmup: Share of the steps in which it rises from 0.
        lora: Adapters, or None for all weights.
        save_steps: Steps between checkpoints; None for none.
        seed: Of the rows' order and the adapters' first weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(16, ge=1)
    lr: float = Field(2e-5, gt=0)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup: float = Field(0.03, ge=0, lt=1)
    lora: Lora | None = None
    save_steps: int | None = Field(None, ge=1)
    seed: int = 0


def train_sft(model_dir: Path, rows: Sequence[Row], out_dir: Path, config: Sft, *, resume: bool = False) -> dict[str, float]:
    """Fine-tune a model on rows and save it, with its tokenizer, as a model directory (an adapter directory with LoRA).

    Args:
        model_dir: The model to begin with.
        rows: What to learn; see `agentgym_training.rows`.
        out_dir: Where the model, checkpoints and ``metrics.jsonl`` (step, loss, lr, tokens/s) go.
        config: How.
        resume: Go on from the last checkpoint in `out_dir`, if there is one.

    Returns:
        ``steps``, ``loss`` (mean over the last tenth of what was logged, in nats a trained token), ``tokens``, ``seconds`` and
        ``tokens_per_second`` (of this run).

    Raises:
        UserError: no rows, a weight that is neither 0 nor 1, no model, or a training to be resumed that was another one.
    """
    if not rows:
        raise UserError("there are no rows to train on: collect more, or select less strictly")
    if any(w not in (0.0, 1.0) for r in rows for w in r.weights):
        raise UserError("SFT takes weights of 0 and 1 only: round them")
    transformers.utils.logging.disable_progress_bar()
    model, tokenizer = load(Path(model_dir).resolve())
    out_dir = Path(out_dir)
    _same_training(rows, config, out_dir, resume)
    last = _last_checkpoint(out_dir) if resume else None
    collator = Collator(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
    metrics = Metrics(out_dir, collator, int(last.name.rpartition("-")[2]) if last else 0)
    order = plan([len(r.input_ids) for r in rows], config)
    with without_peft_warning():
        trainer = _Trainer(
            model=_trainable(model),
            args=_arguments(out_dir, config, len(order) // config.batch_size),
            train_dataset=_dataset(rows).select(order),
            processing_class=tokenizer,
            data_collator=collator,
            callbacks=[metrics],
            peft_config=_lora(config.lora),
        )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    trainer.model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    return metrics.summary()


def _trainable(model: Any) -> Any:
    """The model in float32: bf16 weights would round small updates away; on a GPU the arithmetic is in bf16 all the same.

    An adapter becomes part of its base first, in float32 too, where that loses nothing.
    """
    model = model.float()
    return model.merge_and_unload().requires_grad_(True) if isinstance(model, PeftModel) else model


def _same_training(rows: Sequence[Row], config: Sft, out_dir: Path, resume: bool) -> None:
    """Remember rows and configuration, so that no other training goes on from this one's checkpoints."""
    digest = hashlib.blake2b(repr([(r.input_ids, r.weights) for r in rows]).encode(), digest_size=8).hexdigest()
    now, file = config.model_dump() | {"rows": digest}, out_dir / "training.json"
    if resume and file.exists():
        before = json.loads(file.read_text())
        if other := [key for key in now if before.get(key) != now[key]]:
            raise UserError(f"the training in {out_dir} had other {', '.join(other)}: give the same, or choose another --out")
    out_dir.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(now))


def _last_checkpoint(out_dir: Path) -> Path | None:
    """The newest checkpoint that is complete: the trainer writes its state last."""
    complete = [c.parent for c in out_dir.glob("checkpoint-*/trainer_state.json") if c.stat().st_size]
    return max(complete, key=lambda c: int(c.name.rpartition("-")[2]), default=None)


def plan(lengths: Sequence[int], config: Sft) -> list[int]:
    """The order of rows for a whole training: each epoch shuffled, then rows of like length put into the same batch.

    Args:
        lengths: Of each row, in tokens.
        config: Says steps, batch size and seed.

    Returns:
        Indices of rows, `batch_size` for each step.
    """
    rng = random.Random(config.seed)
    size = config.batch_size
    steps = config.max_steps or max(1, round(config.epochs * len(lengths) / size))
    drawn: list[int] = []
    while len(drawn) < steps * size:
        drawn += rng.sample(range(len(lengths)), len(lengths))
    batches: list[list[int]] = []
    for start in range(0, steps * size, 50 * size):  # stretches of 50 batches, so that lengths do not order the training
        stretch = sorted(drawn[start : min(start + 50 * size, steps * size)], key=lengths.__getitem__)
        alike = [stretch[i : i + size] for i in range(0, len(stretch), size)]
        batches += rng.sample(alike, len(alike))
    return [i for batch in batches for i in batch]


class _Trainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer with a lean loss where there is no GPU.

    TRL's fused head runs on Triton for the labelled positions alone; without it, it scores all positions and their entropies,
    which halves the speed of a nano policy.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy of the labelled tokens, in nats a token."""
        if torch.cuda.is_available() or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][:, 1:]
        columns = (labels != IGNORED).any(0).nonzero()[:, 0]  # positions that predict a label in some row
        logits = model(
            input_ids=inputs["input_ids"], position_ids=inputs["position_ids"], use_cache=False, logits_to_keep=columns
        ).logits
        labels = labels[:, columns]
        scored = labels != IGNORED
        loss = torch.nn.functional.cross_entropy(logits[scored].float(), labels[scored], reduction="sum")
        return loss / (scored.sum() if num_items_in_batch is None else num_items_in_batch)


class Collator:
    """Pads rows on the right.

    Attributes:
        tokens: How many real tokens were handed out.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad
        self.tokens = 0

    def __call__(self, batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``labels`` and ``position_ids``, each (rows, longest row)."""
        longest = max(len(r["input_ids"]) for r in batch)
        self.tokens += sum(len(r["input_ids"]) for r in batch)
        return {
            "input_ids": torch.tensor([r["input_ids"] + [self.pad] * (longest - len(r["input_ids"])) for r in batch]),
            "labels": torch.tensor([r["labels"] + [IGNORED] * (longest - len(r["labels"])) for r in batch]),
            "position_ids": torch.arange(longest).expand(len(batch), -1),
        }


class Metrics(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Appends a line to ``metrics.jsonl`` each time that the trainer logs; lines after a resumed checkpoint are dropped."""

    def __init__(self, out_dir: Path, collator: Collator, step: int) -> None:
        self.file = out_dir / "metrics.jsonl"
        self.collator = collator
        out_dir.mkdir(parents=True, exist_ok=True)
        written = self.file.read_text().splitlines() if step and self.file.exists() else []
        self.lines = [line for line in map(json.loads, written) if line["step"] <= step]
        self.file.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        self.began = self.logged = time.perf_counter()
        self.counted = self.steps = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.began = self.logged = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Write what was measured since the last line."""
        if not logs or "loss" not in logs:
            return
        now, tokens = time.perf_counter(), self.collator.tokens
        speed = (tokens - self.counted) / max(now - self.logged, 1e-9)
        line = {"step": state.global_step, "loss": logs["loss"], "lr": logs["learning_rate"], "tokens_per_second": round(speed)}
        self.logged, self.counted = now, tokens
        self.lines.append(line)
        if len(self.lines) % 10 == 0:
            log.info("step %d of %d: loss %.4f, %d tokens/s", line["step"], state.max_steps, line["loss"], speed)
        with self.file.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock."""
        self.steps, self.counted, self.logged = state.global_step, self.collator.tokens, time.perf_counter()

    def summary(self) -> dict[str, float]:
        """See `train_sft`."""
        seconds = self.logged - self.began
        tail = self.lines[-max(1, len(self.lines) // 10) :]
        return {
            "steps": self.steps,
            "loss": sum(line["loss"] for line in tail) / len(tail),
            "tokens": self.counted,
            "seconds": seconds,
            "tokens_per_second": self.counted / max(seconds, 1e-9),
        }


def _arguments(out_dir: Path, config: Sft, steps: int) -> SFTConfig:
    gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(out_dir),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.lr,
        lr_scheduler_type=config.schedule,
        warmup_steps=round(config.warmup * steps),
        adam_beta2=0.95,  # the default 0.999 averages over more steps than a short training has
        train_sampling_strategy="sequential",  # the plan is in the dataset's order
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        use_cpu=not gpu,
        bf16=gpu and torch.cuda.is_bf16_supported(),
        gradient_checkpointing=None,  # off; False warns since transformers 5.20, which renamed it
        dataloader_pin_memory=gpu,
        logging_steps=max(1, min(10, steps // 10)),
        save_strategy="steps" if config.save_steps else "no",
        save_steps=config.save_steps or steps,
        save_total_limit=2,
        disable_tqdm=True,  # `Metrics` tells how far it is
        report_to="none",
        seed=config.seed,
    )
    arguments._n_gpu = 1  # one process trains on one device: several would each take a batch, and a step be another than planned
    return arguments


def _dataset(rows: Sequence[Row]) -> datasets.Dataset:
    labels = [[i if w else IGNORED for i, w in zip(r.input_ids, r.weights, strict=True)] for r in rows]
    return datasets.Dataset.from_dict({"input_ids": [r.input_ids for r in rows], "labels": labels})


def _lora(lora: Lora | None) -> LoraConfig | None:
    if lora is None:
        return None
    return LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
