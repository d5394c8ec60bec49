"""Supervised fine-tuning on rows, by TRL's `SFTTrainer`: full weights or LoRA, resumable at any step.

Rows arrive tokenised and masked, so TRL prepares nothing. Padding stands on the right without an attention mask: causal
attention never looks there, and the fast attention kernels stay usable.

Weights other than 0 and 1 are refused: TRL's loss knows labels, not weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from trl import SFTConfig, SFTTrainer

from agentgym import UserError
from agentgym.sampling.transformers import load, without_peft_warning

from .base import Metrics, Training, arguments, last_checkpoint, peft_config, plan, same_training, trainable
from .rows import Row

IGNORED = -100  # the label of what is not trained on


class Sft(Training):
    """How to fine-tune: nothing but what all trainings have."""


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
    same_training([(r.input_ids, r.weights) for r in rows], config, out_dir, resume)
    last = last_checkpoint(out_dir) if resume else None
    collator = Collator(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
    metrics = Metrics(out_dir, collator, last)
    order = plan([len(r.input_ids) for r in rows], config)
    with without_peft_warning():
        trainer = _Trainer(
            model=trainable(model),
            args=arguments(
                SFTConfig, out_dir, config, len(order) // config.batch_size, dataset_kwargs={"skip_prepare_dataset": True}
            ),
            train_dataset=_dataset(rows).select(order),
            processing_class=tokenizer,
            data_collator=collator,
            callbacks=[metrics],
            peft_config=peft_config(config.lora),
        )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    trainer.model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    return metrics.summary()


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


def _dataset(rows: Sequence[Row]) -> datasets.Dataset:
    labels = [[i if w else IGNORED for i, w in zip(r.input_ids, r.weights, strict=True)] for r in rows]
    return datasets.Dataset.from_dict({"input_ids": [r.input_ids for r in rows], "labels": labels})
