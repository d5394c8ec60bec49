"""Who plays episodes: a player has one environment and plays one episode after the other in it.

A watch looks over all players of this process ten times a second: who waits too long for the environment or for the sampler,
or plays too long in all, is called back with a failure. Looking costs nothing, where a timer for every turn would cost a fifth
of a light environment's speed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from agentgym import DeadlineFailure, Failure, SamplerFailure
from agentgym.sampling import Sampler
from agentgym_trajectories.episode import Pulse, play
from agentgym_trajectories.hosts import Host, Hosts
from agentgym_trajectories.tree import Episode

WATCH_SECONDS = 0.1
Program = Callable[[Host, Sampler, Episode, int, Pulse], Awaitable[Episode]]


class Player(Protocol):
    """Plays one episode at a time."""

    async def play(self, episode: Episode, seed: int) -> Episode:
        """Play an episode that has only its key; returns it, or a copy, with all its nodes.

        Raises:
            Failure: the attempt is void.
        """

    async def close(self) -> None:
        """Free what the player holds."""


class Players(Protocol):
    """Makes players; used as ``async with players``."""

    @property
    def version(self) -> str:
        """Of the policy."""

    @property
    def turns(self) -> int:
        """Turns taken so far by all players."""

    def open(self) -> Player:
        """A new player; costs nothing until it plays."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Deadlines:
    """How long things may take, in seconds; None is for ever.

    Attributes:
        turn: For the environment's side of a turn, and as much for the sampler's.
        episode: For an episode. Whether it is met depends on the machine and its load, so that a late episode is void rather
            than a failure of the agent: results lean towards quick episodes, and the number of late ones is shown.
    """

    turn: float | None = 600.0
    episode: float | None = None

    def verdict(self, pulse: Pulse, now: float) -> Failure | None:
        """The failure of whoever is late."""
        if self.episode is not None and now - pulse.began > self.episode:
            return DeadlineFailure(f"the episode took longer than {self.episode:g} s")
        if self.turn is not None and now - pulse.since > self.turn:
            return pulse.blamed(f"no answer of the {{}} within {self.turn:g} s")
        return None


@dataclass(eq=False)
class _Flight:
    task: "asyncio.Task[Any]"
    pulse: Pulse
    verdict: Failure | None = None


class LocalPlayers:
    """Players in this process, on the running event loop.

    Args:
        env: Id of the environment.
        env_args: Its arguments.
        sampler: The policy.
        deadlines: How long turns and episodes may take.
        program: How an episode is played: turn by turn, or by a search.
        version: Of who plays; by default the sampler's.
    """

    def __init__(
        self,
        env: str,
        env_args: dict[str, Any],
        sampler: Sampler,
        deadlines: Deadlines,
        program: Program = play,
        version: str | None = None,
    ) -> None:
        self.hosts, self.sampler, self.flights = Hosts(env, env_args), sampler, set[_Flight]()
        self.program, self._version = program, version
        self._deadlines, self._landed = deadlines, 0
        self._watch: asyncio.Task[None] | None = None

    @property
    def version(self) -> str:
        """Of who plays."""
        return self._version or self.sampler.version

    @property
    def turns(self) -> int:
        """Turns taken so far."""
        return self._landed + sum(f.pulse.turns for f in self.flights)

    def open(self) -> "LocalPlayer":
        """A new player."""
        return LocalPlayer(self)

    def landed(self, flight: _Flight) -> None:
        """An episode is over, in whatever way."""
        self.flights.discard(flight)
        self._landed += flight.pulse.turns

    async def __aenter__(self) -> Self:
        self._watch = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            for flight in list(self.flights):
                if flight.verdict is None and (verdict := self._deadlines.verdict(flight.pulse, now)):
                    flight.verdict = verdict
                    flight.task.cancel()


class LocalPlayer:
    """A player with an environment, made when it first plays and made anew when it failed, since it may be broken for good."""

    def __init__(self, players: LocalPlayers) -> None:
        self._players = players
        self._host: Host | None = None

    async def play(self, episode: Episode, seed: int) -> Episode:
        """Play an episode; see `Player`."""
        task = asyncio.current_task()
        assert task is not None
        flight, cancelled = _Flight(task, Pulse()), task.cancelling()
        self._players.flights.add(flight)
        try:
            self._host = self._host or await self._players.hosts.open()
            return await self._players.program(self._host, self._players.sampler, episode, seed, flight.pulse)
        except Failure as error:
            failure: Failure = error
        except asyncio.CancelledError:
            if flight.verdict is not None:
                task.uncancel()
            if task.cancelling() > cancelled:  # by somebody else than the watch, who means it
                raise
            failure = flight.verdict or flight.pulse.blamed("the {} was cancelled from inside")
        finally:
            self._players.landed(flight)
        if not isinstance(failure, SamplerFailure):
            await self.close()
        raise failure

    async def close(self) -> None:
        """Close the environment."""
        host, self._host = self._host, None
        if host is not None:
            await host.close()
