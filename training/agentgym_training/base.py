"""What all trainings on TRL share: how they are configured, planned, measured, stopped and resumed.

The order of all rows is planned before the first step (rows of like length together, so that little is padded), which makes
a resumed training see exactly the batches that it would have seen. TRL is told positions alone: a collator holds the rows.
"""

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import transformers
from peft import LoraConfig, PeftModel
from pydantic import BaseModel, ConfigDict, Field, field_validator

from agentgym import UserError
from agentgym.sampling.transformers import load, without_peft_warning

from .files import keep_lines, write_json
from .track import checked

log = logging.getLogger(__name__)


class Lora(BaseModel):
    """Train low-rank adapters on all linear layers instead of the weights (Hu et al. 2021)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)


class Training(BaseModel):
    """How to train.

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
        track: A tracker that is told too; see `track`. A training that is resumed may have another.
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
    track: str | None = Field(None, exclude=True)

    @field_validator("track")
    @classmethod
    def _here(cls, track: str | None) -> str | None:
        return checked(track)


class Collator(Protocol):
    """Holds all rows and makes batches of them; `tokens` is how many real tokens it has handed out."""

    tokens: int

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        """The batch of some rows, each named by its position under "row"."""


def open_model(model_dir: Path) -> tuple[Any, Any]:
    """The model to begin with, and its tokenizer.

    Raises:
        UserError: there is none.
    """
    transformers.utils.logging.disable_progress_bar()
    model, tokenizer = load(Path(model_dir).resolve(), "cpu")  # in float32 there; trainers move it to their device
    return model, tokenizer


def pad_id(tokenizer: Any) -> int:
    """What stands after the end of the shorter rows of a batch."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def fit(
    trainer: Callable[..., Any],
    kind: Callable[..., Any],
    model: Any,
    tokenizer: Any,
    collator: Collator,
    *,
    rows: Sequence[Any],
    lengths: Sequence[int],
    config: Training,
    out_dir: Path,
    resume: bool,
    stages: Sequence[int] = (),
    callbacks: Sequence[Any] = (),
    finish: Callable[[Any], None] | None = None,
    also: Sequence[str] = (),
    task: str = "CAUSAL_LM",
    **more: Any,
) -> dict[str, float]:
    """Train, and save model and tokenizer as a model directory (an adapter directory with LoRA).

    Args:
        trainer: Makes a TRL trainer.
        kind: The class of its arguments; see `arguments`.
        model: The model to begin with.
        tokenizer: Its tokenizer.
        collator: Makes the batches.
        rows: See `same_training`.
        lengths: Of each row, in tokens.
        config: How.
        out_dir: Where the model, checkpoints and ``metrics.jsonl`` go.
        resume: Go on from the last checkpoint in `out_dir`, if there is one.
        stages: See `plan`.
        callbacks: Beside `Metrics`.
        finish: Is given the trained model before it is saved.
        also: What else is measured; see `Metrics`.
        task: See `peft_config`.
        more: Arguments that only this kind of training sets.

    Returns:
        What `Metrics.summary` says.

    Raises:
        UserError: the training to be resumed had other rows or another configuration.
    """
    same_training(rows, config, out_dir, resume)
    last = last_checkpoint(out_dir) if resume else None
    metrics = Metrics(out_dir, collator, last, also)
    order = plan(lengths, config, stages)
    with without_peft_warning():
        made = trainer(
            model=trainable(model),
            args=arguments(kind, out_dir, config, len(order) // config.batch_size, **more),
            train_dataset=_positions(order),
            processing_class=tokenizer,
            data_collator=collator,
            callbacks=[metrics, *callbacks],
            peft_config=peft_config(config.lora, task),
        )
    made.remove_callback(transformers.PrinterCallback)
    made.train(resume_from_checkpoint=str(last) if last else None)
    if finish:
        finish(made.model)
    made.model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    return metrics.summary()


def _positions(order: Sequence[int]) -> Any:
    import datasets  # what does not train through TRL does without it

    return datasets.Dataset.from_dict({"row": list(order)})


def trainable(model: Any) -> Any:
    """The model in float32: bf16 weights would round small updates away; on a GPU the arithmetic is in bf16 all the same.

    An adapter becomes part of its base first, in float32 too, where that loses nothing.
    """
    model = model.float()
    return model.merge_and_unload().requires_grad_(True) if isinstance(model, PeftModel) else model


def same_training(rows: Sequence[Any], config: BaseModel, out_dir: Path, resume: bool, free: Sequence[str] = ()) -> None:
    """Remember rows and configuration, so that no other training goes on from this one's checkpoints.

    Args:
        rows: Whatever is trained on, in values whose `repr` says all of it.
        config: How.
        out_dir: Where ``training.json`` stands.
        resume: Compare with what is there.
        free: Parts of the configuration that may be others when it goes on.

    Raises:
        UserError: the training to be resumed had other rows or another configuration.
    """
    digest = hashlib.blake2b(repr(rows).encode(), digest_size=8).hexdigest()
    now, file = config.model_dump(mode="json") | {"rows": digest}, out_dir / "training.json"
    if resume and file.exists():
        before = json.loads(file.read_text())
        if other := [key for key in now if key not in free and before.get(key) != now[key]]:
            raise UserError(f"the training in {out_dir} had other {', '.join(other)}: give the same, or choose another --out")
    write_json(file, now)


def last_checkpoint(out_dir: Path) -> Path | None:
    """The newest checkpoint that is complete: the trainer writes its state last."""
    complete = [c.parent for c in out_dir.glob("checkpoint-*/trainer_state.json") if c.stat().st_size]
    return max(complete, key=lambda c: int(c.name.rpartition("-")[2]), default=None)


def plan(lengths: Sequence[int], config: Training, stages: Sequence[int] = ()) -> list[int]:
    """The order of rows for a whole training: each epoch shuffled, then rows of like length put into the same batch.

    Args:
        lengths: Of each row, in tokens.
        config: Says steps, batch size and seed.
        stages: Of each row, where there are several: a stage has the share of the steps that it has of the rows, and begins when
        the
            stages below it are over.

    Returns:
        Indices of rows, `batch_size` for each step.
    """
    rng = random.Random(config.seed)
    size = config.batch_size
    steps = config.max_steps or max(1, round(config.epochs * len(lengths) / size))
    of = stages or [0] * len(lengths)
    order: list[int] = []
    taken = 0
    for stage in sorted(set(of)):
        members = [i for i, s in enumerate(of) if s == stage]
        taken += len(members)
        until = round(steps * taken / len(lengths))  # of all steps
        order += _stage(members, lengths, until * size - len(order), size, rng)
    return order


def _stage(members: Sequence[int], lengths: Sequence[int], count: int, size: int, rng: random.Random) -> list[int]:
    """`count` indices out of `members`, each as often as any other."""
    drawn: list[int] = []
    while len(drawn) < count:
        drawn += rng.sample(members, len(members))
    batches: list[list[int]] = []
    for start in range(0, count, 50 * size):  # stretches of 50 batches, so that lengths do not order the training
        stretch = sorted(drawn[start : min(start + 50 * size, count)], key=lengths.__getitem__)
        alike = [stretch[i : i + size] for i in range(0, len(stretch), size)]
        batches += rng.sample(alike, len(alike))
    return [i for batch in batches for i in batch]


class Metrics(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Appends a line to ``metrics.jsonl`` each time that the trainer logs; lines after a resumed checkpoint are dropped.

    Args:
        out_dir: Where the file is.
        collator: Says how many tokens were trained on.
        last: The checkpoint that the training goes on from, if it does.
        also: What each line has beside step, loss, learning rate and speed.
    """

    def __init__(self, out_dir: Path, collator: Collator, last: Path | None, also: Sequence[str] = ()) -> None:
        self.file = out_dir / "metrics.jsonl"
        self.collator = collator
        self.names = ("loss", *also)
        out_dir.mkdir(parents=True, exist_ok=True)
        step = int(last.name.rpartition("-")[2]) if last else 0
        self.lines: list[dict[str, float]] = keep_lines(self.file, lambda line: line["step"] <= step)
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
        measured = {name: logs[name] for name in self.names}
        line = {"step": state.global_step, **measured, "lr": logs["learning_rate"], "tokens_per_second": round(speed)}
        self.logged, self.counted = now, tokens
        self.lines.append(line)
        if len(self.lines) % 10 == 0:
            # Batches are made ahead: the last steps have none left to count.
            shown = f", {speed:.0f} tokens/s" if speed >= 1 else ""
            log.info("step %d of %d: loss %.4f%s", line["step"], state.max_steps, line["loss"], shown)
        with self.file.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock."""
        self.steps, self.counted, self.logged = state.global_step, self.collator.tokens, time.perf_counter()

    def summary(self) -> dict[str, float]:
        """Steps, tokens and seconds of this run, and of all that was measured the mean over the last tenth of the lines."""
        seconds = self.logged - self.began
        tail = self.lines[-max(1, len(self.lines) // 10) :]
        return {
            "steps": self.steps,
            **{name: sum(line[name] for line in tail) / len(tail) for name in self.names},
            "tokens": self.counted,
            "seconds": seconds,
            "tokens_per_second": self.counted / max(seconds, 1e-9),
        }


def arguments(kind: Callable[..., Any], out_dir: Path, config: Training, steps: int, **more: Any) -> Any:
    """The arguments of a TRL trainer, of class `kind`.

    Args:
        kind: `SFTConfig`, `DPOConfig`, ...
        out_dir: Where checkpoints go.
        config: How to train.
        steps: Of the optimizer.
        more: What only this kind of training sets.
    """
    gpu = torch.cuda.is_available()
    made = kind(
        output_dir=str(out_dir),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.lr,
        lr_scheduler_type=config.schedule,
        warmup_steps=round(config.warmup * steps),
        adam_beta2=0.95,  # the default 0.999 averages over more steps than a short training has
        train_sampling_strategy="sequential",  # the plan is in the dataset's order
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
        report_to=config.track or "none",
        run_name=out_dir.name,
        seed=config.seed,
        **more,
    )
    made._n_gpu = 1  # one process trains on one device: several would each take a batch, and a step be another than planned
    return made


def peft_config(lora: Lora | None, task: str = "CAUSAL_LM") -> LoraConfig | None:
    """The adapters as peft wants them; with the task "SEQ_CLS" the head is trained and kept too."""
    return lora and LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", task_type=task)
