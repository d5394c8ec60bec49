"""A reward model from pairs, by TRL's `RewardTrainer`, and its use: it says of a trajectory what it is worth.

Both sides of a pair are read as they were sampled, to their last token, where a head gives one number (Bradley and Terry's model
of which side wins; Stiennon et al. 2020, arXiv:2009.01325).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from agentgym import UserError
from agentgym.sampling.transformers import load_tokenizer, loading
from agentgym.tokens import Chat
from agentgym_trajectories.tree import Trajectory

from .base import Training, fit, pad_id
from .batches import padded
from .rows import PairRow


class RewardModelling(Training):
    """How to train: nothing but what all trainings have."""


def train_reward_model(
    model_dir: Path, pairs: Sequence[PairRow], out_dir: Path, config: RewardModelling, *, resume: bool = False
) -> dict[str, float]:
    """Train a reward model on pairs and save it, with its tokenizer, as a model directory.

    Args:
        model_dir: The language model whose body it begins with.
        pairs: What is better than what; see `rows.pair_rows`.
        out_dir: Where the model, checkpoints and ``metrics.jsonl`` (step, loss, accuracy, lr, tokens/s) go.
        config: How.
        resume: Go on from the last checkpoint in `out_dir`, if there is one.

    Returns:
        ``steps``, ``loss`` and ``accuracy`` (share of pairs whose chosen side scores higher; both over the last tenth of what was
        logged), ``tokens``, ``seconds`` and ``tokens_per_second``.

    Raises:
        UserError: no pairs, no model, or a training to be resumed that was another one.
    """
    if not pairs:
        raise UserError("there are no pairs to train on: make more, or choose less strictly")
    transformers.utils.logging.disable_progress_bar()
    tokenizer = load_tokenizer(model_dir)
    pad = pad_id(tokenizer)
    torch.manual_seed(config.seed)  # of the new head
    with loading(model_dir):
        model = AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = pad
    return fit(
        _Trainer,
        RewardConfig,
        model,
        tokenizer,
        _Collator(pairs, pad),
        rows=pairs,
        lengths=[max(len(p.chosen.input_ids), len(p.rejected.input_ids)) for p in pairs],
        config=config,
        out_dir=Path(out_dir),
        resume=resume,
        also=("accuracy",),
        task="SEQ_CLS",
    )


class _Trainer(RewardTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer with our rows."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


class _Collator:
    """Chosen sides, then rejected ones; the head reads the last token that is no padding.

    Attributes:
        tokens: How many real tokens were handed out.
    """

    def __init__(self, pairs: Sequence[PairRow], pad: int) -> None:
        self.pairs, self.pad, self.tokens = pairs, pad, 0

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        """``input_ids`` and ``attention_mask``, each (2B, longest)."""
        taken = [self.pairs[b["row"]] for b in batch]
        rows = [*(p.chosen for p in taken), *(p.rejected for p in taken)]
        lengths = torch.tensor([len(r.input_ids) for r in rows])
        self.tokens += int(lengths.sum())
        made = padded(rows, self.pad)
        return {"input_ids": made["input_ids"], "attention_mask": (made["position_ids"] < lengths[:, None]).long()}


class RewardModel:
    """A trained reward model; to be used in a `rl.rewards.Outcome`.

    Args:
        directory: Of `train_reward_model`, or any sequence classifier with one label that knows the trajectories' vocabulary.

    Raises:
        UserError: there is no such model.
    """

    def __init__(self, directory: Path) -> None:
        self.chat = Chat(load_tokenizer(directory))
        with loading(directory):
            self.model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=1).eval()
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")

    @torch.inference_mode()
    def __call__(self, trajectory: Trajectory) -> float:
        """What it is worth, read as the actor saw it.

        Raises:
            UserError: it was sampled with another vocabulary, or without ids.
        """
        ids = trajectory.token_ids
        if ids is None or trajectory.episode.vocabulary != self.chat.vocabulary:
            raise UserError(f"task {trajectory.episode.task.id} was played with another vocabulary than the reward model's")
        return float(self.model(input_ids=torch.tensor([ids], device=self.model.device)).logits[0, 0])
