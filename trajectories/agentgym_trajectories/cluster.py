"""Episodes spread over a Ray cluster: the store, the tasks and the retries stay with the driver, the workers only play.

One worker for each CPU of the cluster, an actor with its own sampler and its own environments. Workers come and go: a machine
that joins gets workers within seconds, a worker that dies is replaced, and the episodes that it was playing are redone (a
`WorkerFailure` each). Policies that are a server's (``vllm:http://...``, ``openai:...``) are shared by all workers; a model
directory is loaded by each.

``ray.init()`` finds the cluster: the one that RAY_ADDRESS names, or a new one on this machine.
"""

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayActorError, RayError

from agentgym import Failure, SamplerFailure, UserError, WorkerFailure
from agentgym.sampling import Sampler
from agentgym_trajectories.episode import play
from agentgym_trajectories.players import Deadlines, LocalPlayer, LocalPlayers, Program
from agentgym_trajectories.process import carried, install
from agentgym_trajectories.tree import Episode

CLOSE_SECONDS = 15.0  # for the workers to close their environments
LOOK_SECONDS = 2.0  # between two looks at the size of the cluster
STILLBORN = 3  # so many workers in a row that die before they live, and none is left: they all will
IN_FLIGHT = 10_000  # of one worker: no limit of ours, the driver says how many episodes are in flight


class _Worker:
    """The far end: plays whatever it is sent, on its own event loop.

    Args:
        registration: The environment's.
        env: Its id.
        env_args: Its arguments.
        opener: Opens the policy.
        deadlines: How long turns and episodes may take.
        program: How an episode is played.
    """

    def __init__(
        self,
        registration: bytes,
        env: str,
        env_args: dict[str, Any],
        opener: Callable[[], Sampler],
        deadlines: Deadlines,
        program: Program,
    ) -> None:
        install(registration)
        self._players = LocalPlayers(env, env_args, opener(), deadlines, program)
        self._idle: list[LocalPlayer] = []
        self._started = False

    async def ready(self) -> None:
        """Returns once the worker lives."""

    async def play(self, episode: Episode, seed: int) -> Episode | Failure | UserError:
        """Play an episode; what goes wrong is returned, since Ray would wrap it."""
        if not self._started:
            self._started = True
            await self._players.__aenter__()  # for as long as the process lives
        player = self._idle.pop() if self._idle else self._players.open()
        try:
            return await player.play(episode, seed)
        except (Failure, UserError) as error:
            return error
        finally:
            self._idle.append(player)

    async def close(self) -> None:
        """Close all environments that are free."""
        await asyncio.gather(*(player.close() for player in self._idle))


class RayPlayers:
    """Players on the workers of a Ray cluster.

    Args:
        env: Id of the environment.
        env_args: Its arguments.
        opener: Opens the policy; has to be picklable, and is called by each worker.
        version: Of the policy.
        deadlines: How long turns and episodes may take.
        program: How an episode is played.
    """

    def __init__(
        self,
        env: str,
        env_args: dict[str, Any],
        opener: Callable[[], Sampler],
        version: str,
        deadlines: Deadlines,
        program: Program = play,
    ) -> None:
        self.version, self.turns = version, 0
        self._arguments = (carried(env), env, env_args, opener, deadlines, program)
        self._load: dict[Any, int] = {}  # episodes in flight by living worker
        self._pending: dict[Any, asyncio.Task[None]] = {}  # workers that are being born
        self._stillborn = 0  # workers in a row that never lived
        self._changed = asyncio.Event()
        self._ours = False
        self._keeper: asyncio.Task[None] | None = None

    def open(self) -> "RayPlayer":
        """A new player."""
        return RayPlayer(self)

    async def worker(self) -> Any:
        """The living worker with the fewest episodes in flight, as soon as there is one.

        Raises:
            UserError: no worker can be started.
        """
        while not self._load:
            if self._stillborn >= STILLBORN:
                raise UserError(f"no Ray worker can be started: {self._reason}")
            self._changed.clear()
            await self._changed.wait()
        worker = min(self._load, key=lambda w: self._load[w])
        self._load[worker] += 1
        return worker

    def done(self, worker: Any, *, dead: bool = False) -> None:
        """An episode has left its worker."""
        if dead:
            if self._load.pop(worker, None) is not None:
                self._recruit()
        elif worker in self._load:
            self._load[worker] -= 1

    async def __aenter__(self) -> Self:
        if not ray.is_initialized():
            self._ours = True
            await asyncio.to_thread(ray.init, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in (self._keeper, *self._pending.values()):
            if task is not None:
                task.cancel()
        with contextlib.suppress(RayError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*(worker.close.remote() for worker in self._load), return_exceptions=True)
        for worker in (*self._load, *self._pending):
            ray.kill(worker)
        if self._ours:
            await asyncio.to_thread(ray.shutdown)

    async def _keep(self) -> None:
        try:
            while True:
                self._recruit()
                await asyncio.sleep(LOOK_SECONDS)
        except Exception as error:  # the cluster is gone, or what workers need cannot be sent to them
            self._stillborn, self._reason = STILLBORN, f"{type(error).__name__}: {error}"
            self._changed.set()

    def _recruit(self) -> None:
        """As many workers as the cluster has CPUs, those included that are being born."""
        for _ in range(int(ray.cluster_resources().get("CPU", 1)) - len(self._load) - len(self._pending)):
            worker = ray.remote(_Worker).options(num_cpus=1, max_concurrency=IN_FLIGHT).remote(*self._arguments)
            self._pending[worker] = asyncio.create_task(self._born(worker))

    async def _born(self, worker: Any) -> None:
        try:
            await worker.ready.remote()
            self._load[worker] = self._stillborn = 0
        except RayError as error:
            self._stillborn += 1
            self._reason = str(error).strip().splitlines()[-1]  # Ray's text ends with the worker's own exception
        del self._pending[worker]
        self._changed.set()


class RayPlayer:
    """Plays one episode at a time, each on the worker that has the fewest."""

    def __init__(self, players: RayPlayers) -> None:
        self._players = players

    async def play(self, episode: Episode, seed: int) -> Episode:
        """Play an episode; see `Player`."""
        worker, dead = await self._players.worker(), False
        try:
            played = await worker.play.remote(episode, seed)
        except RayActorError as error:
            dead = True
            raise WorkerFailure("the worker is gone: it crashed, was killed, or its machine left") from error
        except RayError as error:
            raise SamplerFailure(f"the worker failed: {error}") from error
        finally:
            self._players.done(worker, dead=dead)
        if isinstance(played, Exception):
            raise played
        self._players.turns += sum(n.kind == "action" for n in played.nodes)
        return played  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Nothing is held."""
