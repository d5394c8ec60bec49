"""Many episodes at once, on asyncio: every finished turn goes straight back to the sampler, nothing runs in lockstep.

Each worker owns one environment and plays one episode after the other. A failure of the environment or of the sampler voids
the attempt: it is recorded apart, has no reward, and is tried again up to a cap, with a new seed and in a new instance, since an
environment that failed may be broken for good. Beyond the cap the episode is missing from the results, not counted as zero, so
a failure that depends on what the agent does (its code kills the container, say) biases the results towards agents that do not
do that; the count of failures is therefore always shown.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agentgym import AgentGymError, Environment, EnvironmentFailure, Failure, Task, make
from agentgym.sampling import Sampler
from agentgym_trajectories.episode import play
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode

FLUSH_SECONDS = 0.1
HOPELESS = 8  # so many episodes lost and none played: it is no bad luck, stop and say why


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
    """How far a rollout is: episodes asked for, found finished, played now, failed for good, and failed attempts."""

    asked: int = 0
    resumed: int = 0
    played: int = 0
    failed: int = 0
    attempts_failed: int = 0

    @property
    def done(self) -> int:
        """Episodes that need nothing more in this call."""
        return self.resumed + self.played + self.failed


@dataclass(frozen=True)
class Rollout:
    """What to play.

    Attributes:
        env: Id of the environment.
        env_args: Its arguments.
        samples: Attempts at each task: the group.
        seed: Of environments and sampling; with it, the task and the sample index, an episode is repeatable.
        concurrency: Episodes in flight.
        attempts: Tries for each episode before it counts as failed.
    """

    env: str
    env_args: dict[str, Any] = field(default_factory=dict)
    samples: int = 1
    seed: int = 0
    concurrency: int = 64
    attempts: int = 3

    async def run(
        self, tasks: Iterable[Task], sampler: Sampler, sink: Sink, report: Callable[[Progress], None] = lambda _: None
    ) -> Progress:
        """Play `samples` episodes of every task that the sink does not hold yet, and put them there.

        Args:
            tasks: Drawn lazily.
            sampler: The policy.
            sink: Where episodes go.
            report: Called ten times a second and at the end.

        Raises:
            Failure: the first `HOPELESS` episodes were all lost.
            UserError: what was asked for cannot be done, or the sink cannot be written.
        """
        progress, key = Progress(), (self.env, self.env_args, sampler.version)
        jobs = self._jobs(tasks, sink.finished(*key), progress)
        failed = sink.failed_attempts(*key)
        try:
            async with asyncio.TaskGroup() as group:
                flusher = group.create_task(_flush_often(sink, report, progress))
                workers = [group.create_task(self._work(jobs, failed, sampler, sink, progress)) for _ in range(self.concurrency)]
                await asyncio.wait(workers)
                flusher.cancel()
        except* Exception as errors:
            first = errors.exceptions[0]
            raise first from first.__cause__
        finally:
            sink.flush()
            report(progress)
        return progress

    def _jobs(self, tasks: Iterable[Task], done: set[tuple[str, int]], progress: Progress) -> Iterator[tuple[Task, int]]:
        for task in tasks:
            for sample in range(self.samples):
                progress.asked += 1
                if (task.id, sample) in done:
                    progress.resumed += 1
                else:
                    yield task, sample

    async def _work(
        self,
        jobs: Iterator[tuple[Task, int]],
        failed: dict[tuple[str, int], int],
        sampler: Sampler,
        sink: Sink,
        progress: Progress,
    ) -> None:
        env: Environment | None = None
        try:
            for task, sample in jobs:
                before = failed.get((task.id, sample), 0)
                for attempt in range(before, before + self.attempts):
                    episode = Episode(self.env, task, sample, sampler.version, self.env_args)
                    seed = zlib.crc32(f"{self.seed}/{task.id}/{sample}/{attempt}".encode())
                    try:
                        env = env or _make(self.env, self.env_args)
                        sink.add(await play(env, sampler, episode, seed))
                        progress.played += 1
                        break
                    except Failure as failure:
                        _close(env)
                        env = None
                        self._count(failure, attempt, episode, sink, progress)
                else:
                    progress.failed += 1
                await asyncio.sleep(0)  # neither environment nor sampler need have waited, and Ctrl-C wants to be heard
        finally:
            _close(env)

    def _count(self, failure: Failure, attempt: int, episode: Episode, sink: Sink, progress: Progress) -> None:
        progress.attempts_failed += 1
        sink.add_failure(episode, attempt, failure)
        if progress.failed >= HOPELESS and not progress.played + progress.resumed:
            raise failure


def _make(env_id: str, env_args: dict[str, Any]) -> Environment:
    try:
        return make(env_id, **env_args)
    except AgentGymError:
        raise
    except Exception as error:
        raise EnvironmentFailure(f"cannot be made: {type(error).__name__}: {error}") from error


def _close(env: Environment | None) -> None:
    if env is not None:
        with suppress(Exception):  # what it did is stored, and a broken one may not even close
            env.close()


async def _flush_often(sink: Sink, report: Callable[[Progress], None], progress: Progress) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        sink.flush()
        report(progress)


def collect(
    env: str, sampler: Sampler, out: Path | str, *, split: str = "train", tasks: int = 100, samples: int = 1, **env_args: Any
) -> Progress:
    """Play the first tasks of a split and store them, for scripts; `Rollout` has all the choices.

    Args:
        env: Id of the environment.
        sampler: The policy.
        out: Directory of the run; what is there already is not played again.
        split: Of the tasks.
        tasks: How many.
        samples: Attempts at each task.
        env_args: The environment's arguments.
    """
    with closing(make(env, **env_args)) as made, Store(out, create=True) as store:
        return asyncio.run(Rollout(env, env_args, samples).run(made.tasks(split)[:tasks], sampler, store))
