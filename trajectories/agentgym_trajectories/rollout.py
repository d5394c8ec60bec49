"""Many episodes at once, on asyncio: every finished turn goes straight back to the sampler, nothing runs in lockstep.

Each worker has one player, and with it one environment, and plays one episode after the other. A failure of the environment,
the sampler or the machine voids the attempt: it is recorded apart, has no reward, and is tried again by its class (`TRIES`),
with a new seed. Beyond the cap the episode is missing from the results, not counted as zero, so a failure that depends on what
the agent does (its code kills the container, say) biases the results towards agents that do not do that; the count of failures
is therefore always shown. The rest of its group is kept, and the store says which groups are partial.
"""

import asyncio
import itertools
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentgym import DeadlineFailure, Failure, RefusedFailure, SamplerFailure, Task, WorkerFailure, make
from agentgym.sampling import Sampler
from agentgym_trajectories.knee import START, Knee
from agentgym_trajectories.players import Deadlines, LocalPlayers, Player, Players
from agentgym_trajectories.sink import Memory, Progress, Sink
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode

__all__ = ["Deadlines", "Memory", "Progress", "Rollout", "Sink", "collect"]

FLUSH_SECONDS = 0.1
HOPELESS = 8  # so many episodes lost and none played: it is no bad luck, stop and say why
# Tries of an episode by class of failure; `Rollout.attempts` for all others.
TRIES = {DeadlineFailure: 1, WorkerFailure: 10}
PAUSE, LONGEST_PAUSE = 0.25, 15.0  # seconds before a sampler that failed is asked again, doubled each time


@dataclass(frozen=True)
class Rollout:
    """What to play.

    Attributes:
        env: Id of the environment.
        env_args: Its arguments.
        samples: Attempts at each task: the group.
        seed: Of environments and sampling; with it, the task and the sample index, an episode is repeatable.
        concurrency: Episodes in flight; 0 finds out how many are worth it (`Knee`).
        attempts: Tries for each episode where the environment or the sampler fails.
        deadlines: How long turns and episodes may take.
    """

    env: str
    env_args: dict[str, Any] = field(default_factory=dict)
    samples: int = 1
    seed: int = 0
    concurrency: int = 0
    attempts: int = 3
    deadlines: Deadlines = field(default_factory=Deadlines)

    async def run(
        self,
        tasks: Iterable[Task],
        sampler: Sampler,
        sink: Sink,
        report: Callable[[Progress], None] = lambda _: None,
        stop: asyncio.Event | None = None,
    ) -> Progress:
        """Play `samples` episodes of every task that the sink does not hold yet, in this process, and put them there.

        Args:
            tasks: Drawn lazily.
            sampler: The policy.
            sink: Where episodes go.
            report: Called ten times a second and at the end.
            stop: Once it is set, no new episode is begun, and those in flight are finished.

        Raises:
            Failure: all episodes are being lost; what was played is kept.
            UserError: what was asked for cannot be done, or the sink cannot be written.
        """
        players = LocalPlayers(self.env, self.env_args, sampler, self.deadlines)
        return await self.play(tasks, players, sink, report, stop)

    async def play(
        self,
        tasks: Iterable[Task],
        players: Players,
        sink: Sink,
        report: Callable[[Progress], None] = lambda _: None,
        stop: asyncio.Event | None = None,
    ) -> Progress:
        """`run` with any kind of players."""
        engine = _Engine(self, tasks, players, sink, stop or asyncio.Event())
        try:
            async with players:
                await engine.run(report)
        except* Exception as errors:
            first = _first(errors)
            raise first from first.__cause__
        finally:
            sink.flush()
            report(engine.progress)
        return engine.progress


class _Engine:
    """One run of a rollout: workers, the flusher, and the search for the knee."""

    def __init__(self, plan: Rollout, tasks: Iterable[Task], players: Players, sink: Sink, stop: asyncio.Event) -> None:
        self.plan, self.players, self.sink, self.stop = plan, players, sink, stop
        self.progress, self.knee = Progress(), Knee()
        key = (plan.env, plan.env_args, players.version)
        self.jobs = self._jobs(tasks, sink.finished(*key))
        self.failed = sink.failed_attempts(*key)
        self.exhausted = False
        self.unanswered = 0  # episodes lost to the sampler in a row
        self.slots: set[int] = set()  # of workers that are there

    async def run(self, report: Callable[[Progress], None]) -> None:
        async with asyncio.TaskGroup() as watchers:
            tasks = [watchers.create_task(self._flush_often(report))]
            async with asyncio.TaskGroup() as self.workers:
                self.resize(self.plan.concurrency or START)
                if not self.plan.concurrency:
                    tasks.append(watchers.create_task(self.knee.find(lambda: self.players.turns, self.resize)))
            for task in tasks:
                task.cancel()
        self.progress.knee = self.knee.found
        self.progress.rates = {n: round(rate, 1) for n, rate in self.knee.rates.items()}
        self.progress.interrupted = not self.exhausted

    def resize(self, concurrency: int) -> None:
        """So many workers from now on; those beyond finish the episode that they are in."""
        self.progress.concurrency = concurrency
        if not self.exhausted:
            for slot in set(range(concurrency)) - self.slots:
                self.slots.add(slot)
                self.workers.create_task(self._work(slot))

    def _jobs(self, tasks: Iterable[Task], done: set[tuple[str, int]]) -> Iterator[tuple[Task, int]]:
        for task in tasks:
            for sample in range(self.plan.samples):
                self.progress.asked += 1
                if (task.id, sample) in done:
                    self.progress.resumed += 1
                else:
                    yield task, sample
        self.exhausted = True

    async def _work(self, slot: int) -> None:
        player = self.players.open()
        try:
            while slot < self.progress.concurrency and not self.stop.is_set():
                job = next(self.jobs, None)
                if job is None:
                    break
                await self._episode(player, *job)
                await asyncio.sleep(0)  # neither environment nor sampler need have waited, and Ctrl-C wants to be heard
        finally:
            self.slots.discard(slot)
            await player.close()

    async def _episode(self, player: Player, task: Task, sample: int) -> None:
        """Play one episode until it succeeds or its failures reach their cap."""
        failures: Counter[type[Failure]] = Counter()
        for attempt in itertools.count(self.failed.get((task.id, sample), 0)):
            episode = Episode(self.plan.env, task, sample, self.players.version, self.plan.env_args)
            seed = zlib.crc32(f"{self.plan.seed}/{task.id}/{sample}/{attempt}".encode())
            try:
                self.sink.add(await player.play(episode, seed))
                break
            except Failure as failure:
                failures[type(failure)] += 1
                self.progress.attempts_failed += 1
                self.sink.add_failure(episode, attempt, failure)
                if failures[type(failure)] >= TRIES.get(type(failure), self.plan.attempts):
                    return self._lost(failure)
                if self.stop.is_set():  # a resumed run tries again
                    return None
            if tries := failures[SamplerFailure]:  # a server that restarts needs a while
                await asyncio.sleep(random.random() * min(PAUSE * 2**tries, LONGEST_PAUSE))
        self.progress.played += 1
        self.unanswered = 0
        return None

    def _lost(self, failure: Failure) -> None:
        self.progress.failed += 1
        no_answer = isinstance(failure, SamplerFailure) and not isinstance(failure, RefusedFailure)
        self.unanswered = self.unanswered + 1 if no_answer else 0
        nothing_works = self.progress.failed >= HOPELESS and not self.progress.played + self.progress.resumed
        if nothing_works or self.unanswered >= HOPELESS:
            raise failure

    async def _flush_often(self, report: Callable[[Progress], None]) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.sink.flush()
            report(self.progress)


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


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
