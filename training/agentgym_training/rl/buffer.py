"""The batches that a policy and its critic learn from: the newest, and some that were played before."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .batch import Example
from .turns import Turns

FILE = "buffer.pt"
Experience = tuple[Sequence[Example], Turns]  # of one batch


class ReplayBuffer:
    """The last batches, the newest first.

    Args:
        size: How many.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.batches: list[Experience] = []

    def add(self, examples: Sequence[Example], turns: Turns) -> None:
        """Take in a batch; the oldest leaves."""
        self.batches = [(examples, turns), *self.batches][: self.size]

    def newest(self, count: int) -> Experience:
        """The last `count` as one, in which the newest one's numbers are what they were."""
        chosen, made, token, episode = self.batches[:count], list[Example](), 0, 0
        for examples, turns in chosen:
            made += [replace(e, token=e.token + token, episode=e.episode + episode) for e in examples]
            token, episode = token + len(turns.sampled), episode + int(turns.episode.max()) + 1
        return made, Turns.joined([turns for _, turns in chosen])

    def save(self, directory: Path) -> None:
        """Write those that will be needed again."""
        if self.size > 1:
            torch.save(self.batches[: self.size - 1], directory / FILE)

    def load(self, directory: Path) -> None:
        """Take up what was written."""
        if self.size > 1:
            self.batches = torch.load(directory / FILE, weights_only=False)
