"""The batches that an update learns from: its own, and a few that were played before."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .batch import Example
from .turns import Turns

FILE = "memory.pt"
Batch = tuple[Sequence[Example], Turns]


class Memory:
    """The last batches, the newest first.

    Args:
        size: How many.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.batches: list[Batch] = []

    def add(self, examples: Sequence[Example], turns: Turns) -> Batch:
        """Take in a batch. Returns all there are as one, in which the new one's numbers are what they were."""
        self.batches = [(examples, turns), *self.batches][: self.size]
        made, token, episode = list[Example](), 0, 0
        for sequences, its in self.batches:
            made += [replace(e, token=e.token + token, episode=e.episode + episode) for e in sequences]
            token, episode = token + len(its.sampled), episode + int(its.episode.max()) + 1
        return made, Turns.joined([t for _, t in self.batches])

    def save(self, directory: Path) -> None:
        """Write those that will be learnt from again."""
        if self.size > 1:
            torch.save(self.batches[: self.size - 1], directory / FILE)

    def load(self, directory: Path) -> None:
        """Take up what was written."""
        if self.size > 1:
            self.batches = torch.load(directory / FILE, weights_only=False)
