"""What a state is worth: small estimators, and mixtures of them. An action that ends the episode is worth what it earned."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agentgym_trajectories.episode import Walk
from agentgym_trajectories.tree import Episode, Node, Trajectory

from .branch import Branch
from .tree import Edge


@dataclass(frozen=True)
class Estimate:
    """What an estimator found.

    Attributes:
        value: In the units of the episode's total reward.
        nodes: Records of what was played to find it, behind those of the tree, in their order.
    """

    value: float
    nodes: tuple[Node, ...] = ()


class Value(Protocol):
    """Estimates an edge that leads to a state."""

    async def __call__(self, edge: Edge) -> Estimate:
        """The total reward to be expected when the policy goes on from there."""


@dataclass(frozen=True)
class RollOut:
    """Play on to the end with the same policy, once. What was played is kept in the tree, but is no part of its statistics."""

    async def __call__(self, edge: Edge) -> Estimate:
        """The total reward of the episode that came of it."""
        assert edge.state is not None
        start = edge.state.walk
        known = start.episode
        record = Episode(known.env, known.task, known.sample, known.version, nodes=list(known.nodes), tools=known.tools)
        assert isinstance(start.host, Branch)
        walk = start.fork(start.host.fork(), record)
        walk.seed += 1  # an expansion of the same state would draw the same actions
        while await walk.turn():
            pass
        new = tuple(record.nodes[len(known.nodes) :])
        return Estimate(edge.earned + sum(n.reward or 0.0 for n in new), new)


@dataclass(frozen=True)
class Earned:
    """The rewards so far: for environments that reward every step."""

    async def __call__(self, edge: Edge) -> Estimate:
        """Their sum."""
        return Estimate(edge.earned)


@dataclass(frozen=True)
class Scored:
    """A function of the trajectory so far: a value head, a reward model, a judge.

    Attributes:
        score: From a trajectory that may end anywhere to an expected total reward.
    """

    score: Callable[[Trajectory], float]

    async def __call__(self, edge: Edge) -> Estimate:
        """What the function says; it runs in a thread, since models take their time."""
        assert edge.state is not None
        episode = edge.state.walk.episode
        return Estimate(await asyncio.to_thread(self.score, episode.trajectory(edge.node.id)))


@dataclass(frozen=True)
class Mix:
    """A weighted sum of estimators.

    Attributes:
        parts: Weights and estimators; only one of them may play (their records would overlap).
    """

    parts: tuple[tuple[float, Value], ...]

    async def __call__(self, edge: Edge) -> Estimate:
        """Their sum."""
        found = [(weight, await value(edge)) for weight, value in self.parts]
        return Estimate(sum(w * e.value for w, e in found), tuple(n for _, e in found for n in e.nodes))


class Ranking(Protocol):
    """Orders the possible actions of one state."""

    async def __call__(self, walk: Walk, actions: list[Node]) -> list[float | None]:
        """For each action a number in [0, 1], or None without an opinion."""
