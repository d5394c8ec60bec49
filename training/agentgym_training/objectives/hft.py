"""Half fine-tuning (Hui et al. 2024, arXiv:2404.18466, section 3): half of the parameters stay as they are in each round.

In every layer a random half of the attention's tensors, of the feed-forward network's and of the norms is frozen; where a number
is odd, the larger half is frozen in every second layer. The halves are drawn from the training's seed: rounds with other seeds
train other halves. What stands outside of layers (embeddings, the last norm) is trained; the paper freezes none of it either.
"""

import random
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from agentgym import UserError

from .base import Objective

_LAYER = re.compile(r"\.(?:layers?|blocks?|h)\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Hft(Objective):
    """Train half of the tensors of each layer."""

    def prepare(self, model: Any, seed: int) -> None:
        """Freeze the other half.

        Raises:
            UserError: the model's layers are called otherwise than layers of transformers are.
        """
        groups: dict[tuple[int, str], list[Any]] = defaultdict(list)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and (found := _LAYER.search(name)):
                groups[int(found[1]), _category(found[2])].append(parameter)
        if not groups:
            raise UserError("hft finds no layers in this model: train it without")
        rng, odd = random.Random(seed), defaultdict[str, int](int)
        for (_, category), tensors in sorted(groups.items(), key=lambda item: item[0]):
            half, rest = divmod(len(tensors), 2)
            odd[category] += rest
            for parameter in rng.sample(tensors, half + (rest and odd[category] % 2)):
                parameter.requires_grad_(False)


def _category(name: str) -> str:
    return "norm" if "norm" in name else "attention" if "attn" in name or "attention" in name else "mlp"
