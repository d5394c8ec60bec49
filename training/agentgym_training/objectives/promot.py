"""ProMoT (Wang et al. 2022, arXiv:2211.00635, section 4): first a soft prompt learns the format, then the model learns the rest.

In the first `share` of the steps only a soft prompt of `length` embeddings before each row is trained, the model is frozen;
afterwards only the model is, with the prompt frozen before each row. The loss is the usual one. Without the prompt the tuned
model keeps more of what it knew besides, because the task's format stands in the prompt.

The model is saved without the prompt, and the prompt beside it in ``prompt.safetensors`` ("soft_prompt", (length, d)): samplers
play the model alone. One optimizer and one learning rate serve both phases; the paper tunes the prompt with a rate of its own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from .base import Batch, Objective, embedded, instead

NAME = "soft_prompt"


@dataclass(frozen=True)
class Promot(Objective):
    """Tune a soft prompt, then the model behind it.

    Attributes:
        length: Of the prompt, in embeddings.
        share: Of the steps that tune it.
    """

    length: int = 16
    share: float = 0.3

    def prepare(self, model: Any, seed: int) -> None:
        """Give the model a prompt: embeddings of ids drawn from its vocabulary, as prompt tuning begins."""
        table = model.get_input_embeddings().weight
        drawn = torch.randint(len(table), (self.length,), generator=torch.Generator().manual_seed(seed))
        model.register_parameter(NAME, torch.nn.Parameter(table.detach()[drawn.to(table.device)].clone()))

    def inputs(self, model: Any, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The prompt, then what there was."""
        embeddings = embedded(model, inputs)
        prompt = getattr(model, NAME).to(embeddings.dtype).expand(len(embeddings), -1, -1)
        return instead(inputs, torch.cat([prompt, embeddings], 1))

    def gradients(self, model: Any, progress: float) -> None:
        """Leave those of the prompt alone, or all others."""
        for name, parameter in model.named_parameters():
            if (name == NAME) != (progress < self.share):
                parameter.grad = None

    def finish(self, model: Any, out_dir: Path) -> None:
        """Take the prompt out of the model, into a file of its own."""
        save_file({NAME: getattr(model, NAME).detach().cpu()}, out_dir / "prompt.safetensors")
        delattr(model, NAME)
