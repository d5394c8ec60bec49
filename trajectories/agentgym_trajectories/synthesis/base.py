"""What a method of synthesis is: a way to make tasks, or better trajectories, with samplers in an environment.

A method is a frozen dataclass: its fields are its options. It says three things, and inherits two of them::

    @dataclass(frozen=True)
    class Terse(Method):
        \"\"\"Answer in one sentence without having been asked to.\"\"\"

        async def play(self, scene: Scene) -> None:              # what is done with one task
            await scene.attempt(whisper("Answer in one sentence."))

        def tasks(self, given, count, seed) -> Tasks: ...        # which tasks; by default those of the environment
        def selectors(self) -> Sequence[Selector]: ...           # what is kept; by default what `play` did not drop

What is done with a task is one episode, so all that the rollout engine does for episodes it does for a method: many at once, a
killed run goes on, what fails is tried again and counted, each record says who wrote it. Seeds are tasks of an environment; texts
and prompts of one's own are the environment ``instruct/Prompts-v0``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from agentgym import Task, Tasks
from agentgym.sampling import Sampler
from agentgym_trajectories.episode import Pulse
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.programs import versions
from agentgym_trajectories.select import Drop, Near, Selector
from agentgym_trajectories.synthesis.scene import Scene
from agentgym_trajectories.tree import Episode, Trajectory


class Method(ABC):
    """A way to synthesise.

    Attributes:
        roles: Who takes part beside the main sampler, and may be another one; None for any.
        samples: Episodes of each task.
        seeded: Whether it begins with the environment's tasks.
    """

    roles: ClassVar[tuple[str, ...] | None] = ()
    samples: int = 1
    seeded: ClassVar[bool] = True

    def tasks(self, given: Tasks, count: int, seed: int) -> Tasks:
        """What is played.

        Args:
            given: The environment's tasks, where the method is `seeded`.
            count: At most so many.
            seed: Of what is drawn.
        """
        return given[:count]

    @abstractmethod
    async def play(self, scene: Scene) -> None:
        """Do it with one task; at least one attempt has to come of it.

        Raises:
            Unusable: this try brought nothing; there may be another.
        """

    def selectors(self) -> Sequence[Selector[Trajectory]]:
        """What is kept of that which `play` did not drop."""
        return ()


class Writer(Method):
    """A method that writes new tasks, which are then done in the environment as any other. Nearly equal ones are dropped."""

    seeded = False

    def tasks(self, given: Tasks, count: int, seed: int) -> Tasks:
        """Those that it begins with, or else numbers."""
        if self.seeded:
            return given[:count]
        name = type(self).__name__.lower()
        return Tasks(lambda i: Task("", {}, f"{name}-{i}"), range(count))

    async def play(self, scene: Scene) -> None:
        """Write, and do."""
        scene.become(await self.write(scene))
        await scene.attempt()

    @abstractmethod
    async def write(self, scene: Scene) -> str:
        """A new task."""

    def selectors(self) -> Sequence[Selector[Trajectory]]:
        """Without near duplicates."""
        return (Near(of="request"),)


@dataclass(frozen=True)
class Synthesis:
    """A method as a way to play episodes; see `players.Program`.

    Attributes:
        name: Of the method, with its options, in the records.
        method: The method.
        samplers: Those of its roles that are not the main one.
    """

    name: str
    method: Method
    samplers: Mapping[str, Sampler] = field(default_factory=dict)

    def version(self, policy: str) -> str:
        """Names who plays."""
        return versions(self.name, policy, self.samplers)

    async def play(self, host: Host, sampler: Sampler, episode: Episode, seed: int, pulse: Pulse) -> Episode:
        """Play an episode."""
        scene = Scene(host, sampler, episode, seed, pulse, self.samplers)
        await self.method.play(scene)
        return scene.end(self.name.partition(":")[0])


@dataclass(frozen=True)
class Dropped(Selector[Trajectory]):
    """Keep what the method that made it did not drop."""

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Stream."""
        for t in items:
            if reason := t.episode.task.origin.get("dropped", {}).get(str(t.leaf.id)):
                drop(t, reason)
            else:
                yield t
