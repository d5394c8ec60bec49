"""From turns to sequences: what a model reads, and where in the line of all trained tokens the numbers for it stand.

Every number of a token (its advantage, its logprob under this or that policy) is kept once, in an array over the batch's M
trained tokens. A sequence knows which of its positions are trained and where in these arrays they are; positions that are not
trained, such as observations, have no number at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentgym import UserError
from agentgym.tokens import Chat
from agentgym_training.packing import Micro, Scored, score
from agentgym_training.rows import rows
from agentgym_trajectories.tree import Episode

from .turns import Turns


@dataclass(frozen=True)
class Example(Scored):
    """One sequence, whose scored tokens are those that are trained.

    Attributes:
        episode: Number of the episode.
    """

    episode: int


def examples(episodes: Sequence[Episode], turns: Turns, chat: Chat) -> list[Example]:
    """The sequences in which each turn is trained once.

    Args:
        episodes: Those that `turns` was made of.
        turns: Of all of them.
        chat: Of the model to be trained.

    Raises:
        UserError: an episode was sampled with another vocabulary.
    """
    place = {(e, n): t for t, (e, n) in enumerate(zip(turns.episode.tolist(), turns.node.tolist(), strict=True))}
    made: list[Example] = []
    for number, episode in enumerate(episodes):
        if episode.vocabulary != chat.vocabulary:
            raise UserError(f"task {episode.task.id} was played with another vocabulary than the model's: collect with the model")
        seen = set[int]()
        for trajectory in episode.trajectories():
            for row in rows(trajectory, chat, seen):
                at = [np.arange(start, stop) for _, start, stop in row.turns]
                first = [turns.offsets[place[number, node]] for node, _, _ in row.turns]
                token = [f + np.arange(len(a)) for f, a in zip(first, at, strict=True)]
                made.append(Example(row.input_ids, np.concatenate(at), np.concatenate(token), number))
            seen.update(n.id for n in trajectory.actions)
    return made


def logps_and_entropy(model: Any, micro: Micro, *, with_entropy: bool) -> tuple[Tensor, Tensor]:
    """Of each trained token the model's log-probability, and the entropy of what it could have been: (m,) each, in nats.

    Args:
        model: A causal language model.
        micro: What it reads.
        with_entropy: Whether gradients flow through the entropy too.
    """

    def of(logits: Tensor, targets: Tensor) -> Tensor:
        log_p = torch.log_softmax(logits, -1)
        weighed = log_p if with_entropy else log_p.detach()
        return torch.stack([log_p.gather(1, targets[:, None])[:, 0], -(weighed.exp() * weighed).sum(-1)], 1)

    logps, entropy = score(model, micro, of).unbind(1)
    return logps, entropy if with_entropy else entropy.detach()
