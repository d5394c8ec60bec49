"""A piece that a reward model decides: any sequence classifier over conversations, such as `agentgym train reward` makes."""

import asyncio
import functools
import json
import math
from pathlib import Path
from typing import Any, ClassVar

from agentgym import EnvironmentFailure, Failure, UserError, assistant
from agentgym.errors import NotInstalled
from agentgym.tokens import Chat, Conversation

from .base import Answered, Piece

ATTRIBUTES = "attributes.json"  # of a model with several: weights by name, in the head's order


class RewardModel(Piece, frozen=True, tag="model"):
    """What a reward model gives for the conversation, put into [0, 1] by the logistic function.

    Of two answers that it compares (Bradley and Terry) that is how probable it is that this one beats one worth 0. A model with
    several attributes gives their weighted sum.

    Attributes:
        path: Its directory.
    """

    path: str
    verifiable: ClassVar[bool] = False

    def open(self) -> None:
        """Load it."""
        _loaded(self.path)

    async def value(self, given: Answered) -> dict[str, float]:
        """The value, and what the model gave."""
        raw = await asyncio.to_thread(_worth, self.path, given)
        return {"": 1 / (1 + math.exp(-raw)) if raw > -700 else 0.0, "raw": raw}


def _worth(path: str, given: Answered) -> float:
    import torch

    chat, model, weights = _loaded(path)
    conversation = Conversation(chat)
    try:
        conversation.observe(given.opening)
        conversation.act(assistant(given.answer))  # what spells control tokens is text
        ids = conversation.ids
        with torch.inference_mode():
            worth = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].double().tolist()
    except (Failure, RuntimeError, IndexError) as error:  # too long for it, or too large for this machine
        raise EnvironmentFailure(f"the reward model in {path} cannot read task {given.task.id}: {error}") from error
    total = float(sum(w * v for w, v in zip(weights, worth, strict=True)))
    if not math.isfinite(total):
        raise EnvironmentFailure(f"the reward model in {path} gives {total} for task {given.task.id}")
    return total


@functools.lru_cache(maxsize=2)
def _loaded(path: str) -> tuple[Any, Any, list[float]]:
    """Template, model, and the weight of each of its numbers."""
    directory = Path(path)
    if not directory.is_dir():  # before torch is imported
        raise UserError(f"there is no reward model {path}: give a model directory (see `agentgym train reward`)")
    try:
        import torch
        from transformers import AutoModelForSequenceClassification

        from agentgym.sampling.transformers import load_tokenizer, loading
    except ImportError as error:
        raise NotInstalled(f"a reward model needs {error.name}: pip install 'agentgym[train]'") from error
    chat, file = Chat(load_tokenizer(directory)), directory / ATTRIBUTES
    weights = list(json.loads(file.read_text()).values()) if file.exists() else [1.0]
    with loading(directory):
        model = AutoModelForSequenceClassification.from_pretrained(directory)
    if model.config.num_labels != len(weights):
        raise UserError(f"{path} gives {model.config.num_labels} numbers for a text: a reward model gives one")
    return chat, model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), weights
