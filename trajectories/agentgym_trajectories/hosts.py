"""Where an environment lives, so that one which waits, computes or hangs never holds up another.

=================  ==============================================================================================
an environment is  its calls run
=================  ==============================================================================================
plain              on the event loop: microseconds, no switching
an AsyncEnvironment  on the event loop, which goes on while it waits
``blocking``       in a thread of its own: made, used and closed there (browsers and databases insist on that)
``heavy``          in a process of its own, which may also be killed, or die, without harm to any other
=================  ==============================================================================================

A thread or process that is stuck is left behind (a process is killed) and a new host made; no pool is poisoned by it.
"""

import asyncio
import contextlib
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from agentgym import AgentGymError, AsyncEnvironment, Environment, EnvironmentFailure, Message, Observation, Task, make
from agentgym.env import Snapshot, StepResult
from agentgym_trajectories.process import ProcessEnvironment, begin, restore, snapshot, state_key, step

T = TypeVar("T")
BROKEN = (Exception, SystemExit)  # code that an agent wrote may want to exit
CLOSE_SECONDS = 10.0  # for an environment to close; longer, and it is left behind
SWITCH_SECONDS = sys.getswitchinterval()


class Host:
    """One environment on the event loop itself; the other hosts are variations of it.

    Attributes:
        env: What a scripted policy may look at between two calls.
    """

    def __init__(self, env: Any) -> None:
        self.env = env

    async def reset(self, seed: int, task: Task) -> tuple[Observation, str]:
        """Start an episode. Returns the observation and the state key."""
        return await self.run(begin, seed, task)

    async def step(self, action: Message) -> tuple[StepResult, str]:
        """Take a turn. Returns what the environment's `step` returns, and the state key."""
        return await self.run(step, action)

    async def snapshot(self) -> Snapshot:
        """The state, to be returned to."""
        return await self.run(snapshot)

    async def restore(self, snapshot: Snapshot) -> None:
        """Return to a state.

        Raises:
            EnvironmentFailure: what came back is another state.
        """
        await self.run(restore, snapshot)

    async def visit(self) -> None:
        """Let `env` be in this host's state, for policies that look at it; where nobody shares the environment, it always is."""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """``function(env, *args)`` where the environment lives.

        Raises:
            EnvironmentFailure: whatever it raised by accident is the environment's failure.
        """
        try:
            return function(self.env, *args)
        except AgentGymError:
            raise
        except BROKEN as error:
            raise _failure(error) from error

    async def close(self) -> None:
        """Close the environment; one that is broken may not even close, which harms nobody."""
        with contextlib.suppress(Exception):
            self.env.close()


class AsyncHost(Host):
    """An `AsyncEnvironment`, awaited."""

    async def reset(self, seed: int, task: Task) -> tuple[Observation, str]:
        """Start an episode."""
        try:
            observation, _ = await self.env.areset(seed=seed, options={"task": task})
        except AgentGymError:
            raise
        except BROKEN as error:
            raise _failure(error) from error
        return observation, await self.run(state_key)

    async def step(self, action: Message) -> tuple[StepResult, str]:
        """Take a turn."""
        try:
            taken = await self.env.astep(action)
        except AgentGymError:
            raise
        except BROKEN as error:
            raise _failure(error) from error
        return taken, await self.run(state_key)

    async def restore(self, snapshot: Snapshot) -> None:
        """Return to a state."""
        try:
            await self.env.arestore(snapshot)
        except AgentGymError:
            raise
        except Exception as error:
            raise _failure(error) from error

    async def close(self) -> None:
        """Close the environment."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.env.aclose()


class ThreadHost(Host):
    """An environment in a thread of its own; the thread is a daemon, so that one which hangs keeps no process alive."""

    def __init__(self) -> None:
        super().__init__(None)
        self._busy = False
        self._work: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._work,), name="environment", daemon=True).start()
        _calm()

    @classmethod
    async def open(cls, maker: Callable[[], Any]) -> "ThreadHost":
        """Make the environment in a new thread."""
        host = cls()

        def work() -> None:
            host.env = maker()

        try:
            await host.submit(work)
        except BaseException:  # if the caller is gone, it may still be made
            host._end(lambda: None if host.env is None else host.env.close())
            raise
        return host

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """``function(env, *args)`` in the thread."""
        try:
            return await self.submit(lambda: function(self.env, *args))
        except AgentGymError:
            raise
        except BROKEN as error:
            raise _failure(error) from error

    async def submit(self, work: Callable[[], T]) -> T:
        """`work` in the thread, awaited; when the caller is cancelled, the thread works on for nobody."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._busy = True
        self._work.put((future, work))
        try:
            return await future
        finally:
            self._busy = future.cancelled()

    async def close(self) -> None:
        """Close the environment in its thread and end the thread, at once or as soon as it comes to it."""
        if not self._busy:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.submit(self.env.close)
            return self._work.put(None)
        return self._end(self.env.close)

    def _end(self, last: Callable[[], Any]) -> None:
        """End the thread after it has done `last`, which nobody waits for."""
        self._work.put((asyncio.get_running_loop().create_future(), last))
        self._work.put(None)


class ProcessHost(ThreadHost):
    """An environment in a process of its own; the thread only waits for it."""

    @classmethod
    async def open(cls, maker: Callable[[], Any]) -> "ProcessHost":
        """Start a process and make the environment in it; whatever goes wrong meanwhile, no process stays."""
        host = cls()
        host.env = maker()
        try:
            await host.submit(host.env.start)
        except BaseException:
            await host.close()
            raise
        return host

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """``function(env, *args)`` in the process."""
        return await self.submit(lambda: self.env.ask(function, *args))

    async def close(self) -> None:
        """End the process: politely if it is free, else by killing it."""
        self._work.put(None)
        await asyncio.to_thread(self.env.close)


class Hosts:
    """Makes hosts for one kind of environment.

    Args:
        env: Id of the environment.
        env_args: Its arguments.
    """

    def __init__(self, env: str, env_args: dict[str, Any]) -> None:
        self._env, self._args = env, env_args
        self._thread = self._process = False

    async def open(self) -> Host:
        """A new environment where its kind belongs.

        Raises:
            EnvironmentFailure: it cannot be made.
            UserError: there is no such environment, or it takes other arguments.
        """
        try:
            if self._process:
                return await ProcessHost.open(lambda: ProcessEnvironment(self._env, self._args))
            if self._thread:
                return await ThreadHost.open(self._make)
            env = self._make()
        except AgentGymError:
            raise
        except Exception as error:
            raise EnvironmentFailure(f"cannot be made: {type(error).__name__}: {error}") from error
        self._process, self._thread = env.heavy, env.blocking  # known from the first instance on
        if self._process or self._thread:
            await Host(env).close()
            return await self.open()
        return AsyncHost(env) if isinstance(env, AsyncEnvironment) else Host(env)

    def _make(self) -> Environment:
        return make(self._env, **self._args)


def _failure(error: BaseException) -> EnvironmentFailure:
    return EnvironmentFailure(f"{type(error).__name__}: {error}")


def _serve(work: "queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None]") -> None:
    while (item := work.get()) is not None:
        future, function = item
        try:
            value, error = function(), None
        except BaseException as caught:
            value, error = None, caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            future.get_loop().call_soon_threadsafe(_settle, future, value, error)
        del item, future, function, value, error
    _calm()


def _calm() -> None:
    """Let threads wait for the interpreter's lock the longer the more there are.

    Each that waits wakes once in an interval to ask for it: thousands of them at 5 ms leave no time for anything else.
    """
    sys.setswitchinterval(SWITCH_SECONDS * max(1.0, threading.active_count() / 100))


def _settle(future: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
    if future.done():
        return  # its caller has gone
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(EnvironmentFailure("StopIteration") if isinstance(error, StopIteration) else error)
