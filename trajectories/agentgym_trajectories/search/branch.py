"""Many branches in one environment: each continues from its own state, whoever was there in between.

An environment whose state can be copied is returned to by `Environment.restore`; one that says ``replays`` is reset with the same
seed and given the same actions again. Either way the key of the state that came back has to be the one that was left: a mismatch
is the environment's failure, and no branch goes on from it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from agentgym import EnvironmentFailure, Message, Observation, Snapshot, Task
from agentgym.env import StepResult
from agentgym_trajectories.hosts import Host

T = TypeVar("T")
Taken = tuple[tuple[Message, str], ...]  # actions, each with the key of the state that it led to


class Shared:
    """The one environment.

    Attributes:
        host: Where it lives.
        at: The branch's mark that it stands at; None where nobody knows.
        returns: How often a branch had to return to its state.
    """

    def __init__(self, host: Host) -> None:
        self.host, self.lock = host, asyncio.Lock()
        self.at: Any = None
        self.returns = 0


class Branch(Host):
    """A host of its own, as it seems to whoever uses it.

    Args:
        shared: The environment.
    """

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.host.env)
        self._shared = shared
        self._start: tuple[int, Task, str] | None = None
        self._taken: Taken = ()
        self._mark: Snapshot | Taken | None = None

    def fork(self) -> "Branch":
        """Another branch that continues from the same state."""
        other = Branch(self._shared)
        other._start, other._taken, other._mark = self._start, self._taken, self._mark
        return other

    async def reset(self, seed: int, task: Task) -> tuple[Observation, str]:
        """Start an episode; all branches of an environment begin as forks of one that did."""
        async with self._shared.lock:
            observation, key = await self._shared.host.reset(seed, task)
            self._start, self._taken = (seed, task, key), ()
            await self._remember()
        return observation, key

    async def step(self, action: Message) -> tuple[StepResult, str]:
        """Take a turn from this branch's state."""
        async with self._shared.lock:
            await self._return()
            self._shared.at = None
            outcome, key = await self._shared.host.step(action)
            self._taken = (*self._taken, (action, key))
            ended = outcome[2] or outcome[3]
            if not ended:  # nobody goes on from an end
                await self._remember()
        return outcome, key

    async def visit(self) -> None:
        """Let the environment be in this branch's state until somebody else moves."""
        async with self._shared.lock:
            await self._return()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """``function(env, *args)`` in this branch's state."""
        async with self._shared.lock:
            await self._return()
            return await self._shared.host.run(function, *args)

    async def close(self) -> None:
        """The environment is closed by whoever made it."""

    async def _remember(self) -> None:
        self._mark = (*self._taken,) if self.env.replays else await self._shared.host.snapshot()
        self._shared.at = self._mark

    async def _return(self) -> None:
        if self._shared.at is self._mark and self._mark is not None:
            return
        self._shared.at = None
        self._shared.returns += 1
        if isinstance(self._mark, Snapshot):
            await self._shared.host.restore(self._mark)
        else:
            await self._replay()
        self._shared.at = self._mark

    async def _replay(self) -> None:
        assert self._start is not None
        seed, task, expected = self._start
        _, key = await self._shared.host.reset(seed, task)
        for action, after in self._taken:
            if key == expected:
                _, key = await self._shared.host.step(action)
                expected = after
        if key != expected:
            raise EnvironmentFailure(f"replayed {len(self._taken)} actions and came to state {key}, not {expected}")
