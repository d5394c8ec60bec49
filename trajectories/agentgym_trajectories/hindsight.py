"""Hindsight: a path is walked first, and named afterwards; the demonstration is the path, asked for by its name.

Murty et al. 2024, "NNetNav: Unsupervised Learning of Browser Agents Through Environment Interaction in the Wild":

1. any policy (random, a model) explores;
2. every few turns a labeller names what was done so far. A prefix that has no name means nothing, and no path that begins with it
   is worth going on with: it is pruned;
3. the longest prefix with a name becomes a demonstration of a task of that name.

Where it departs from the paper: the demonstration is played, in the environment, as an episode of the new task, so that its
conversation is the one that an agent would have had, and its reward is the environment's own verdict. Where a sampler named the
path, no environment can judge it: the sampler is asked again, as the paper's reward model is.

It is a way to play an episode, as a search is: the rollout engine runs it, and a killed run goes on.
"""

import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from agentgym import Environment, Label, Message, StopReason, Task, Tasks, assistant, user
from agentgym.sampling import Sampler, replay
from agentgym_trajectories.episode import Pulse, Walk, ask, play
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.tree import Episode

EXPLORE = "Somebody comes here with an errand. Think of one, and do it."
NAME = (
    "Which one request, in a user's words, would all that was done so far be the right answer to? "
    "Write the request alone, or NONE if it serves nothing."
)
JUDGE = "Was the request fulfilled, wholly, and with nothing beside it? Answer YES or NO."


class Labeller(Protocol):
    """Names what was done."""

    async def label(self, walk: Walk) -> Label | None:
        """The name of all that was done on this walk; None where it means nothing."""
        ...

    async def judge(self, walk: Walk, demonstration: Episode) -> None:
        """Correct the reward of the demonstration where the environment cannot know it."""
        ...


@dataclass(frozen=True)
class Rules:
    """The environment's own rules, as `Environment.hindsight` has them."""

    async def label(self, walk: Walk) -> Label | None:
        """As `Labeller.label`."""
        return await walk.host.run(_named)

    async def judge(self, walk: Walk, demonstration: Episode) -> None:
        """The environment knows."""


@dataclass(frozen=True)
class Asked:
    """A sampler that is asked.

    Attributes:
        sampler: Who names and judges; None for the policy itself.
    """

    sampler: Sampler | None = field(default=None, repr=False)

    async def label(self, walk: Walk) -> Label | None:
        """As `Labeller.label`."""
        said = await self._say(walk, [*walk.messages, user(NAME)])
        if not said or said.strip(" .").upper() == "NONE":
            return None
        return Label(said, walk.episode.task.data, assistant("Done."))

    async def judge(self, walk: Walk, demonstration: Episode) -> None:
        """Yes is 1, everything else 0."""
        last = demonstration.nodes[-1]
        said = await self._say(walk, [*next(demonstration.trajectories()).messages, user(JUDGE)])
        last.success = said.strip().upper().startswith("YES")
        last.reward, last.rewards = float(last.success), {"judged": float(last.success)}

    async def _say(self, walk: Walk, messages: list[Message]) -> str:
        seed = zlib.crc32(b"%d/%d/hindsight" % (walk.seed, len(messages)))
        sample = await ask(self.sampler or walk.sampler, messages, seed, walk.host.env)
        return "" if sample is None else " ".join(sample.message.content.split())


@dataclass(frozen=True)
class Hindsight:
    """Explore, name, and do it again under that name.

    Attributes:
        labeller: Who names.
        every: Turns between two questions for a name.
    """

    labeller: Labeller = field(default_factory=Rules)
    every: int = 4

    def version(self, policy: str) -> str:
        """Names what plays in the records."""
        return f"{policy}+hindsight/{type(self.labeller).__name__.lower()}"

    async def play(self, host: Host, sampler: Sampler, episode: Episode, seed: int, pulse: Pulse) -> Episode:
        """Returns the demonstration; or the exploration itself, unsolved, where it never meant anything.

        Raises:
            EnvironmentFailure: the environment broke.
            SamplerFailure: inference broke.
        """
        began = time.perf_counter()
        walk = Walk(host, sampler, episode, seed, pulse)
        found = await self._explore(walk)
        if found is None:
            for node in walk.episode.nodes:  # whatever it earned, nobody had asked for it
                node.reward, node.success = node.reward and 0.0, node.success and False
        else:
            label, actions = found
            task = msgspec.structs.replace(episode.task, prompt=label.prompt, data=label.data, difficulty="hindsight")
            episode = Episode(episode.env, task, episode.sample, episode.version, episode.env_args)
            await play(host, replay({task.id: [*actions, label.ending]}), episode, seed, pulse)
            await self.labeller.judge(walk, episode)
        episode.seconds = time.perf_counter() - began
        return episode

    async def _explore(self, walk: Walk) -> tuple[Label, list[Message]] | None:
        """The last name that was found, and the actions that it names."""
        await walk.start()
        found, goes_on = None, True
        while goes_on:
            goes_on = await walk.turn()
            actions = [n for n in walk.episode.nodes if n.kind == "action"]
            if goes_on and len(actions) % self.every:
                continue
            if actions[-1].end not in (None, StopReason.TERMINATED):
                break  # it may not be ended by a further action
            label = await self.labeller.label(walk)
            if label is not None:  # an action that ended the exploration is replaced by the one that ends the demonstration
                named = actions if goes_on else actions[:-1]
                found = label, [n.messages[0] for n in named]
            elif goes_on:
                walk.cut(StopReason.MAX_TURNS)
                break
        return found


def explorations(tasks: Iterable[Task]) -> Tasks:
    """The same tasks without their requests, and with ids of their own: nobody is told what to do."""
    return Tasks.of(msgspec.structs.replace(task, id=f"explore-{task.id}", prompt=EXPLORE) for task in tasks)


def _named(env: Environment) -> Label | None:
    return env.hindsight()
