"""Reward models: they say of a trajectory what it is worth. It is read as it was sampled, to its last token, where a head speaks.

From pairs, by TRL's `RewardTrainer`: the head gives one number (Bradley and Terry's model of which side wins; Stiennon et al.
2020, arXiv:2009.01325). From ratings of several attributes, as in HelpSteer2 (arXiv:2406.08673): the head gives one number for
each, by regression, and their weighted sum is the reward.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import get_peft_model
from transformers import AutoModelForSequenceClassification

from agentgym import UserError
from agentgym.sampling.transformers import load_tokenizer, loading
from agentgym.tokens import Chat
from agentgym_trajectories.tree import Trajectory

from .base import Training, fit, pad_id
from .batches import padded
from .files import write_json
from .rows import PairRow, Row, rows

ATTRIBUTES = "attributes.json"  # of a model with several: their names, in the head's order, and weights


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
    from trl import RewardConfig, RewardTrainer  # whoever only asks a reward model does without it

    class Trainer(RewardTrainer):  # type: ignore[misc]  # trl is untyped here
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    model, tokenizer = _open(model_dir, config, num_labels=1)
    return fit(
        Trainer,
        RewardConfig,
        model,
        tokenizer,
        _Pairs(pairs, pad_id(tokenizer)),
        rows=pairs,
        lengths=[max(len(p.chosen.input_ids), len(p.rejected.input_ids)) for p in pairs],
        config=config,
        out_dir=Path(out_dir),
        resume=resume,
        also=("accuracy",),
        task="SEQ_CLS",
    )


@dataclass(frozen=True)
class Rated:
    """A sequence and what it was rated.

    Attributes:
        row: The sequence; its weights do not matter.
        ratings: By attribute; one that nobody rated is missing.
    """

    row: Row
    ratings: Mapping[str, float]


def rated_rows(
    trajectories: Iterable[Trajectory], tokenizer: Any, attributes: Iterable[str], max_length: int | None = None
) -> list[Rated]:
    """Trajectories with the parts of their environment's rubric for ratings: of each part, the sum over all actions.

    Args:
        trajectories: Each is read as its last action's prompt and text were.
        tokenizer: Of the reward model.
        attributes: Names of parts; a trajectory that has none of them is left out.
        max_length: Longer ones, in tokens, are left out; None for no limit.
    """
    chat, names, made = Chat(tokenizer), list(attributes), list[Rated]()
    for trajectory in trajectories:
        known = {name: [n.rewards[name] for n in trajectory.actions if name in n.rewards] for name in names}
        ratings = {name: sum(values) for name, values in known.items() if values}
        (*_, row) = rows(trajectory, chat)
        if ratings and (max_length is None or len(row.input_ids) <= max_length):
            made.append(Rated(row, ratings))
    return made


def train_attribute_model(
    model_dir: Path,
    rated: Sequence[Rated],
    out_dir: Path,
    config: RewardModelling,
    weights: Mapping[str, float],
    *,
    resume: bool = False,
) -> dict[str, float]:
    """Train a reward model on ratings and save it, with its tokenizer, attributes and weights, as a model directory.

    Args:
        model_dir: The language model whose body it begins with.
        rated: What was rated how.
        out_dir: Where the model, checkpoints and ``metrics.jsonl`` (step, loss, lr, tokens/s) go.
        config: How.
        weights: By attribute, of each in the reward.
        resume: Go on from the last checkpoint in `out_dir`, if there is one.

    Returns:
        ``steps``, ``loss`` (squared error, the mean over known ratings), ``tokens``, ``seconds`` and ``tokens_per_second``.

    Raises:
        UserError: an attribute without ratings, no model, or a training to be resumed that was another one.
    """
    unknown = [name for name in weights if not any(name in r.ratings for r in rated)]
    if unknown or not weights:
        raise UserError(f"nothing is rated for {unknown or 'no attribute'}: name parts of the environment's rubric")
    model, tokenizer = _open(model_dir, config, num_labels=len(weights))
    done = fit(
        _regression,
        _regression_arguments,
        model,
        tokenizer,
        _Ratings(rated, list(weights), pad_id(tokenizer)),
        rows=[rated, dict(weights)],
        lengths=[len(r.row.input_ids) for r in rated],
        config=config,
        out_dir=Path(out_dir),
        resume=resume,
        task="SEQ_CLS",
    )
    write_json(Path(out_dir) / ATTRIBUTES, dict(weights))
    return done


def _open(model_dir: Path, config: RewardModelling, **head: Any) -> tuple[Any, Any]:
    """The body of a language model with a new head, and its tokenizer."""
    transformers.utils.logging.disable_progress_bar()
    tokenizer = load_tokenizer(model_dir)
    torch.manual_seed(config.seed)
    with loading(model_dir):
        model = AutoModelForSequenceClassification.from_pretrained(model_dir, dtype=torch.float32, **head)
    model.config.pad_token_id = pad_id(tokenizer)
    return model, tokenizer


class _Regression(transformers.Trainer):  # type: ignore[misc]  # transformers is untyped here
    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        """The mean squared error over the ratings that are known."""
        ratings = inputs.pop("ratings")
        known = ~ratings.isnan()
        given = model(**inputs, use_cache=False).logits.float()
        loss: torch.Tensor = (given[known] - ratings[known]).square().mean()
        return loss


def _regression(*, model: Any, peft_config: Any, **options: Any) -> _Regression:
    return _Regression(model=model if peft_config is None else get_peft_model(model, peft_config), **options)


def _regression_arguments(*, max_length: None, **options: Any) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(**options)  # only TRL's know a greatest length


class _Sequences:
    """Makes batches for heads that read the last token that is no padding.

    Attributes:
        tokens: How many real tokens were handed out.
    """

    def __init__(self, pad: int) -> None:
        self.pad, self.tokens = pad, 0

    def padded(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """``input_ids`` and ``attention_mask``, each (R, longest)."""
        lengths = torch.tensor([len(r.input_ids) for r in rows])
        self.tokens += int(lengths.sum())
        made = padded(rows, self.pad)
        return {"input_ids": made["input_ids"], "attention_mask": (made["position_ids"] < lengths[:, None]).long()}


class _Pairs(_Sequences):
    """Chosen sides, then rejected ones."""

    def __init__(self, pairs: Sequence[PairRow], pad: int) -> None:
        super().__init__(pad)
        self.pairs = pairs

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        """Of B pairs 2B rows."""
        taken = [self.pairs[b["row"]] for b in batch]
        return self.padded([*(p.chosen for p in taken), *(p.rejected for p in taken)])


class _Ratings(_Sequences):
    """Rows with their ratings."""

    def __init__(self, rated: Sequence[Rated], names: Sequence[str], pad: int) -> None:
        super().__init__(pad)
        self.rated, self.names = rated, names

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        """B rows, and ``ratings`` (B, attributes), not a number where nobody rated."""
        taken = [self.rated[b["row"]] for b in batch]
        ratings = [[r.ratings.get(name, float("nan")) for name in self.names] for r in taken]
        return self.padded([r.row for r in taken]) | {"ratings": torch.tensor(ratings)}


class RewardModel:
    """A trained reward model; `rl.rewards.rewards_named` makes a reward of it.

    Args:
        directory: Of `train_reward_model` or `train_attribute_model`, or any sequence classifier with one label that knows the
            trajectories' vocabulary.
        weights: By attribute, of each in the reward; by default those that it was trained with.

    Raises:
        UserError: there is no such model, or it has no such attribute.
    """

    def __init__(self, directory: Path, weights: Mapping[str, float] | None = None) -> None:
        self.directory = directory
        self.chat = Chat(load_tokenizer(directory))
        file = directory / ATTRIBUTES
        trained: dict[str, float] = json.loads(file.read_text()) if file.exists() else {"value": 1.0}
        self.names, self.weights = list(trained), dict(weights or trained)
        if unknown := [name for name in self.weights if name not in trained]:
            raise UserError(f"the reward model in {directory} knows no attribute {unknown[0]!r}: it has {', '.join(trained)}")
        with loading(directory):
            model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=len(trained))
        self.model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    def __repr__(self) -> str:
        return f"RewardModel({str(self.directory)!r}, {self.weights})"

    def __call__(self, trajectory: Trajectory) -> float:
        """What it is worth.

        Raises:
            UserError: it was sampled with another vocabulary, or without ids.
        """
        found = self.attributes(trajectory)
        return sum(weight * found[name] for name, weight in self.weights.items())

    @torch.inference_mode()
    def attributes(self, trajectory: Trajectory) -> dict[str, float]:
        """Its value in each attribute, read as the actor saw it; see `__call__`."""
        ids = trajectory.token_ids
        if ids is None or trajectory.episode.vocabulary != self.chat.vocabulary:
            raise UserError(f"task {trajectory.episode.task.id} was played with another vocabulary than the reward model's")
        given = self.model(input_ids=torch.tensor([ids], device=self.model.device)).logits[0]
        return dict(zip(self.names, given.tolist(), strict=True))
