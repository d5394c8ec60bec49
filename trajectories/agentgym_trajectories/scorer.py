"""What a language model thinks of trajectories: log-probabilities and embeddings, by plain forward passes over many rows.

All selectors that need a model, and objectives that need a reference, get it from here: see `open_scorer`.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agentgym import UserError
from agentgym.tokens import Chat
from agentgym_trajectories.rows import Example, Row, rows
from agentgym_trajectories.tree import Trajectory

Floats = np.ndarray[Any, np.dtype[np.float64]]
LOGITS = 1 << 22  # at once


class Scorer:
    """A model that reads.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer, with a chat template.

    Attributes:
        chat: The tokenizer's template and dialect.
        total: How many ids all scorers of this process have read: what they cost.
    """

    total = 0

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.chat = model.eval(), Chat(tokenizer)

    def rows(self, example: Trajectory | Example) -> list[Row]:
        """The rows of a trajectory as this model reads it."""
        return rows(example, self.chat)

    def logprobs(self, ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Of each row the log-probability (nats, temperature 1) of each id after the first."""
        found: dict[int, list[float]] = {}
        for numbers, batch, out in self._read(ids, logits=True):
            logps = out.logits[:, :-1].float().log_softmax(-1).gather(2, batch[:, 1:, None])[..., 0].tolist()
            found |= {n: row[: len(ids[n]) - 1] for n, row in zip(numbers, logps, strict=True)}
        return [found[n] for n in range(len(ids))]

    def embeddings(self, ids: Sequence[Sequence[int]]) -> Floats:
        """The mean of each row's last hidden states, (n, d)."""
        found: dict[int, Floats] = {}
        for numbers, _, out in self._read(ids, logits=False):
            for n, hidden in zip(numbers, out.hidden_states[-1].double().cpu().numpy(), strict=True):
                found[n] = hidden[: len(ids[n])].mean(0)
        return np.array([found[n] for n in range(len(ids))])

    def turns(self, examples: Sequence[Trajectory | Example]) -> list[list[Floats]]:
        """For each trajectory, for each of its turns that have a weight, the log-probabilities of the turn's ids."""
        made = [self.rows(e) for e in examples]
        scored = iter(self.logprobs([r.input_ids for rs in made for r in rs]))
        found: list[list[Floats]] = []
        for rs in made:
            logps = [[0.0, *next(scored)] for _ in rs]
            found.append([np.array(p[a:b]) for r, p in zip(rs, logps, strict=True) for _, a, b in r.turns])
        return found

    def _read(self, ids: Sequence[Sequence[int]], *, logits: bool) -> Iterator[tuple[list[int], Any, Any]]:
        """Batches of rows of like length, what stands in them, and what the model says."""
        import torch  # comes with an extra

        if any(len(row) < 1 for row in ids):
            raise UserError("a row without ids cannot be scored: leave it out")
        room = max(1, LOGITS // self.model.config.vocab_size)  # ids
        order, start = sorted(range(len(ids)), key=lambda n: -len(ids[n])), 0
        while start < len(order):
            longest = len(ids[order[start]])
            numbers = order[start : start + max(1, room // longest)]
            start += len(numbers)
            Scorer.total += sum(len(ids[n]) for n in numbers)
            batch = torch.tensor([[*ids[n], *[0] * (longest - len(ids[n]))] for n in numbers], device=self.model.device)
            with torch.inference_mode():
                yield (
                    numbers,
                    batch,
                    self.model(
                        input_ids=batch, use_cache=False, output_hidden_states=not logits, logits_to_keep=0 if logits else 1
                    ),
                )


def open_scorer(directory: Path) -> Scorer:
    """The scorer of a model directory; opened once, however many selectors ask for it.

    Raises:
        UserError: no model can be loaded from there, or the extra that it needs is not installed.
    """
    try:
        from agentgym.sampling.transformers import weights_version  # torch comes with an extra
    except ImportError as error:
        raise UserError(f"scoring with a model needs {error.name}: pip install 'agentgym[train]'") from error
    return _open(directory.resolve(), weights_version(directory))


@functools.lru_cache(maxsize=2)
def _open(directory: Path, version: str) -> Scorer:
    from agentgym.sampling.transformers import load

    return Scorer(*load(directory))
