"""Collecting: batches of episodes, played in a thread with an event loop of its own.

While the update of one batch runs, the next ones may be under way here, with weights that are a little older; publications reach
the sampler on the same loop. A batch is kept in the store as it is played: after a kill only what is missing is played again.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from agentgym import Task, Tasks, UserError, make
from agentgym.sampling.base import Probe, Publisher
from agentgym_trajectories.episode import play
from agentgym_trajectories.players import Deadlines, LocalPlayers, Program
from agentgym_trajectories.rollout import Rollout
from agentgym_trajectories.search import search_named
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode

from .config import RL
from .rewards import dismiss, settled
from .turns import Reward

CONCURRENCY = 64
RARE = 50  # a difficulty has to be that of one in so many tasks
T = TypeVar("T")


@dataclass
class Batch:
    """What was played for one update.

    Attributes:
        kept: Episodes to learn from, group by group.
        played: All episodes.
        failed: Episodes that environment or sampler voided, or of which a judge had no opinion.
        seconds: From the beginning to the end.
    """

    kept: list[Episode] = field(default_factory=list)
    played: list[Episode] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0


class Collector:
    """Plays batches; used as a context.

    Args:
        env: Id of the environment.
        env_args: Its arguments.
        config: Says how much.
        sampler: The policy; closed at the end.
        store: Where the run's episodes are kept.
        reward: Groups in which all trajectories earned the same are left out where `RL.refill` says so.
        deadlines: How long turns and episodes may take.
    """

    def __init__(
        self,
        env: str,
        env_args: dict[str, Any],
        config: RL,
        sampler: Publisher,
        store: Path,
        reward: Reward,
        deadlines: Deadlines | None = None,
    ) -> None:
        self.env, self.env_args, self.config, self.sampler, self.reward = env, env_args, config, sampler, reward
        self.deadlines = deadlines or Deadlines()
        self._store = Store(store, create=True)
        with closing(make(env, **env_args)) as made:
            self._tasks = made.tasks("train")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="collector", daemon=True)

    def begin(self, number: int) -> "Future[Batch]":
        """Begin to play the batch of this update."""
        return self._run(self._play(number))

    def publish(self, directory: Path, version: str, probe: Probe) -> None:
        """Give the sampler new weights; see `Publisher`."""
        self._run(self.sampler.publish(directory, version, probe)).result()

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._finish()).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._store.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _finish(self) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await dismiss(self.reward)
        await self.sampler.close()

    async def _play(self, number: int) -> Batch:
        began, batch = time.perf_counter(), Batch()
        groups: list[list[Episode]] = []
        for attempt in range(1 + self.config.refill):
            tasks = self.tasks(number, attempt)
            found = await self._groups(number, tasks, batch)
            groups += [g for g in found if not self.config.refill or self._teaches(g)]
            if len(groups) >= self.config.tasks:
                break
        batch.kept = [episode for group in groups[: self.config.tasks] for episode in group]
        batch.seconds = time.perf_counter() - began
        return batch

    def tasks(self, number: int, attempt: int) -> Sequence[Task]:
        """The tasks of an update, and of each attempt to fill it: no two have any in common, until all tasks were used."""
        count, wanted = self.config.tasks, self.config.stage_at(number).difficulty
        seeks = any(stage.difficulty for stage in self.config.stages)  # then all stages leave room to look for a difficulty
        first = self.config.start + ((number - 1) * (1 + self.config.refill) + attempt) * count * (RARE if seeks else 1)
        if not wanted:
            return cycled(self._tasks, self.config.seed * 1_000_000 + first, count)
        seen = cycled(self._tasks, self.config.seed * 1_000_000 + first, count * RARE)
        found = [task for task in seen if task.difficulty == wanted][:count]
        if len(found) < count:
            raise UserError(f"less than one in {RARE} tasks of {self.env} is called {wanted!r}: give another difficulty")
        return found

    async def _groups(self, number: int, tasks: Sequence[Task], batch: Batch) -> list[list[Episode]]:
        # Each update has a key of its own in the store. The weights that wrote an action stand in its node.
        version, config = f"update-{number}", self.config
        plan = Rollout(self.env, self.env_args, config.samples, config.seed * 1_000_003 + number, CONCURRENCY)
        players = LocalPlayers(self.env, self.env_args, self.sampler, self.deadlines, self._program(number), version)
        progress = await plan.play(Tasks.of(tasks), players, self._store)
        order = {task.id: i for i, task in enumerate(tasks)}
        ended = [e for e in self._store.episodes(self.env, self.env_args, version) if e.task.id in order]
        played = await settled(self.reward, ended)
        groups: dict[str, list[Episode]] = {task_id: [] for task_id in order}
        for episode in sorted(played, key=lambda e: (order[e.task.id], e.sample)):
            groups[episode.task.id].append(episode)
        batch.played += played
        batch.failed += progress.failed + len(ended) - len(played)
        return [g for g in groups.values() if g]

    def _program(self, number: int) -> Program:
        search = self.config.by.search
        return search_named(search).play if search else partial(play, turns=self.config.stage_at(number).turns)

    def _teaches(self, group: list[Episode]) -> bool:
        """Whether the group's trajectories earned different sums (dynamic sampling, DAPO, arXiv:2503.14476)."""
        return bool(np.ptp([sum(self.reward(t)) for e in group for t in e.trajectories()]) > 0)


def cycled(tasks: Tasks, first: int, count: int) -> list[Task]:
    """So many tasks from number `first` on; after the last one comes the first again."""
    return [tasks[i % len(tasks)] for i in range(first, first + count)]
