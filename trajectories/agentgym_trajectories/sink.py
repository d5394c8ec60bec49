"""Where episodes go, and how far a rollout is."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentgym import Failure
from agentgym_trajectories.tree import Episode


class Sink(Protocol):
    """Where episodes go: a `Store`, or `Memory`."""

    def add(self, episode: Episode) -> None:
        """Keep a finished episode."""

    def add_failure(self, episode: Episode, attempt: int, failure: Failure) -> None:
        """Keep the record of a failed attempt."""

    def finished(self, env: str, env_args: dict[str, Any], version: str) -> set[tuple[str, int]]:
        """Task ids and sample indices that need not be played again."""

    def failed_attempts(self, env: str, env_args: dict[str, Any], version: str) -> dict[tuple[str, int], int]:
        """How often each task and sample failed so far."""

    def flush(self) -> None:
        """Make what was added durable."""


@dataclass
class Memory:
    """A sink without a file."""

    episodes: list[Episode] = field(default_factory=list)
    failures: list[tuple[Episode, int, Failure]] = field(default_factory=list)

    def add(self, episode: Episode) -> None:
        """Keep a finished episode."""
        self.episodes.append(episode)

    def add_failure(self, episode: Episode, attempt: int, failure: Failure) -> None:
        """Keep the record of a failed attempt."""
        self.failures.append((episode, attempt, failure))

    def finished(self, env: str, env_args: dict[str, Any], version: str) -> set[tuple[str, int]]:
        """What was added before."""
        same = (e for e in self.episodes if (e.env, e.env_args, e.version) == (env, env_args, version))
        return {(e.task.id, e.sample) for e in same}

    def failed_attempts(self, env: str, env_args: dict[str, Any], version: str) -> dict[tuple[str, int], int]:
        """How often each task and sample failed so far."""
        return Counter(
            (e.task.id, e.sample) for e, _, _ in self.failures if (e.env, e.env_args, e.version) == (env, env_args, version)
        )

    def flush(self) -> None:
        """Nothing to do."""


@dataclass
class Progress:
    """How far a rollout is.

    Attributes:
        asked: Episodes asked for.
        resumed: Of these, finished before.
        played: Finished now.
        failed: Failed for good; they have no reward and are tried again when the rollout is.
        attempts_failed: Attempts that failed, those that were made good by a later one included.
        concurrency: Episodes in flight.
        knee: How many are worth it, once that was found.
        rates: Turns per second by the number of episodes in flight, where that number was searched for.
        interrupted: Whether it was stopped before its end.
    """

    asked: int = 0
    resumed: int = 0
    played: int = 0
    failed: int = 0
    attempts_failed: int = 0
    concurrency: int = field(default=0, compare=False)
    knee: int | None = field(default=None, compare=False)
    rates: dict[int, float] = field(default_factory=dict, compare=False)
    interrupted: bool = False

    @property
    def done(self) -> int:
        """Episodes that need nothing more in this call."""
        return self.resumed + self.played + self.failed
