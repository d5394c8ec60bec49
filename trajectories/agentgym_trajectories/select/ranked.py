"""Selectors that score every trajectory and keep the best, most of them by what a model thinks of it."""

import importlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from agentgym import UserError
from agentgym_trajectories.scorer import Floats, Scorer, open_scorer
from agentgym_trajectories.select.base import Drop, Selector
from agentgym_trajectories.tree import Trajectory

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ranked(Selector[Trajectory]):
    """Keep the trajectories with the highest scores.

    Attributes:
        keep: Their share.
    """

    keep: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise UserError(f"keep is a share over 0 and up to 1, not {self.keep:g}")

    @abstractmethod
    def scores(self, items: Sequence[Trajectory]) -> Sequence[float] | Floats:
        """A score for each; the higher the better."""

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Reads all first; the order stays. Of equal scores the earlier are kept."""
        given = list(items)
        if given:
            yield from best(given, self.scores(given), round(self.keep * len(given)), drop)


@dataclass(frozen=True, kw_only=True)
class ByModel(Ranked):
    """What ranks by a model.

    Attributes:
        model: Its directory.
    """

    model: Path

    @property
    def scorer(self) -> Scorer:
        """The model, opened."""
        return open_scorer(self.model)


def best(items: Sequence[T], scores: Sequence[float] | Floats, count: int, drop: Drop[T]) -> Iterator[T]:
    """Those `count` items with the highest scores, at least one, in their order."""
    ranked = np.argsort(-np.asarray(scores, dtype=float), kind="stable")[: max(1, count)]
    least = float(np.asarray(scores)[ranked[-1]])
    kept = set(ranked.tolist())
    for i, item in enumerate(items):
        if i in kept:
            yield item
        else:
            drop(item, f"a score of {float(scores[i]):.4g}, the least kept is {least:.4g}")


def task_of(trajectory: Trajectory) -> tuple[str, str, str]:
    """What attempts at one task have in common."""
    episode = trajectory.episode
    return episode.env, repr(sorted(episode.env_args.items())), episode.task.id


def mean_logprobs(scorer: Scorer, items: Sequence[Any]) -> Floats:
    """The mean log-probability of all ids of each item's weighted turns, in nats; (n,)."""
    return np.array([np.concatenate(turns).mean() for turns in scorer.turns(items)])


def embeddings(scorer: Scorer, items: Sequence[Trajectory]) -> Floats:
    """Of each trajectory's last branch the model's embedding, less their mean and of length 1; (n, d)."""
    found = scorer.embeddings([scorer.rows(t)[-1].input_ids for t in items])
    centred = found - found.mean(0)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(min=1e-12))


def library(module: str, package: str) -> Any:
    """A module of an optional library.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"this selector needs {package}: pip install 'agentgym[select]'") from error
