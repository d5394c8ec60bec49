"""Rewards beside the environment's own: each is a frozen dataclass that says what every action of a trajectory earns.

They are added up (`Total`) and need nothing but what the trees hold, so the same episodes can be judged in another way later.
What a program checks (compiling, a property that is kept) is a part of an environment's rubric: `Part` weighs it. What a judge or
a reward model says takes its time: it is asked for once, of all episodes of a batch together (`settled`), and then known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentgym import ErrorCategory
from agentgym.sampling.named import open_sampler
from agentgym_training.reward_model import RewardModel
from agentgym_trajectories import select as selecting
from agentgym_trajectories.tree import Episode, Trajectory

from .judge import Judge
from .turns import Reward, environment_reward

_FORMAT = (ErrorCategory.BAD_FORMAT, ErrorCategory.MALFORMED_JSON)
_TOOL = (ErrorCategory.UNKNOWN_TOOL,)
_ARGUMENT = (ErrorCategory.MISSING_ARGUMENT, ErrorCategory.EXTRA_ARGUMENT, ErrorCategory.ILL_TYPED_ARGUMENT)
_REFUSED = (ErrorCategory.TOOL_ERROR, ErrorCategory.TOO_MANY_CALLS)


@dataclass(frozen=True)
class Environment:
    """What the environment gave, times `weight`."""

    weight: float = 1.0

    def __call__(self, trajectory: Trajectory) -> list[float]:
        """Of each action."""
        return [self.weight * r for r in environment_reward(trajectory)]


@dataclass(frozen=True)
class Part:
    """One part of the environment's rubric, times `weight`, whatever weight the rubric gives it."""

    name: str
    weight: float = 1.0

    def __call__(self, trajectory: Trajectory) -> list[float]:
        """Of each action."""
        return [self.weight * n.rewards.get(self.name, 0.0) for n in trajectory.actions]


@dataclass(frozen=True)
class Errors:
    """A penalty for each mistake in using tools, by how far the call was from one that can be run.

    After TL-Training (arXiv:2412.15495), which rewards by category of error; the numbers are ours.

    Attributes:
        form: Text that is neither an action nor an answer, broken JSON.
        tool: A tool that does not exist.
        argument: An argument missing, too many, or of another type.
        refused: A call that could be run, and failed.
    """

    form: float = 0.2
    tool: float = 0.15
    argument: float = 0.1
    refused: float = 0.05

    def __call__(self, trajectory: Trajectory) -> list[float]:
        """Of each action."""
        sizes = ((_FORMAT, self.form), (_TOOL, self.tool), (_ARGUMENT, self.argument), (_REFUSED, self.refused))
        cost = {category: size for categories, size in sizes for category in categories}
        return [-sum(cost[e] for e in n.errors) for n in trajectory.actions]


@dataclass(frozen=True)
class Length:
    """A penalty on the last action for a trajectory that is too long: DAPO's soft one (arXiv:2503.14476, equation 13).

    Attributes:
        limit: Sampled tokens from which the whole penalty is due.
        margin: So many before, it begins to rise.
        weight: Of the whole penalty.
    """

    limit: int = 1024
    margin: int = 256
    weight: float = 1.0

    def __call__(self, trajectory: Trajectory) -> list[float]:
        """Of each action."""
        over = (trajectory.sampled_tokens - (self.limit - self.margin)) / max(self.margin, 1)
        return _at_end(trajectory, -self.weight * min(max(over, 0.0), 1.0))


Key = tuple[str, int, str, int]


@dataclass(frozen=True)
class Outcome:
    """What somebody says of the whole trajectory, a judge or a reward model, for its last action.

    Attributes:
        ask: Says it of many at once; None where it has no opinion.
        weight: Of it.
    """

    ask: Callable[[Sequence[Trajectory]], Awaitable[Sequence[float | None]]]
    weight: float = 1.0
    _known: dict[Key, float | None] = field(default_factory=dict, repr=False, compare=False)

    async def settle(self, trajectories: Sequence[Trajectory]) -> None:
        """Ask about those of which nothing is known."""
        new = [t for t in trajectories if _key(t) not in self._known]
        self._known.update(zip(map(_key, new), await self.ask(new), strict=True))

    def settles(self, trajectory: Trajectory) -> bool:
        """Whether there is an opinion about it."""
        return self._known.get(_key(trajectory)) is not None

    def __call__(self, trajectory: Trajectory) -> list[float]:
        """Of each action of a trajectory that was settled."""
        said = self._known[_key(trajectory)]
        assert said is not None, "an episode without a verdict is not learnt from"
        return _at_end(trajectory, self.weight * said)


@dataclass(frozen=True)
class Total:
    """The sum of several."""

    terms: tuple[Reward, ...]

    def __call__(self, trajectory: Trajectory) -> list[float]:
        """Of each action."""
        return [sum(parts) for parts in zip(*(term(trajectory) for term in self.terms), strict=True)]


@dataclass(frozen=True)
class NamedJudge:
    """The opinion of a language model, see `judge`.

    Attributes:
        sampler: As for `agentgym collect --policy`.
        weight: Of it.
        max_tokens: Of an answer, thoughts included.
    """

    sampler: str
    weight: float = 1.0
    max_tokens: int = 512

    def build(self) -> Outcome:
        """The reward."""
        return Outcome(Judge(self.sampler, open_sampler(self.sampler, temperature=0.0, max_tokens=self.max_tokens)), self.weight)


@dataclass(frozen=True)
class NamedModel:
    """The opinion of a reward model.

    Attributes:
        path: Its directory.
        weight: Of it.
    """

    path: Path
    weight: float = 1.0

    def build(self) -> Outcome:
        """The reward."""
        return Outcome(_Asked(RewardModel(self.path)), self.weight)


@dataclass(frozen=True)
class _Asked:
    """A reward model in a thread: episodes go on meanwhile."""

    model: RewardModel

    async def __call__(self, trajectories: Sequence[Trajectory]) -> list[float]:
        return await asyncio.to_thread(lambda: [self.model(t) for t in trajectories])


Named = type[Environment] | type[Part] | type[Errors] | type[Length] | type[NamedJudge] | type[NamedModel]
REWARDS: dict[str, Named] = {
    "environment": Environment,
    "part": Part,
    "errors": Errors,
    "length": Length,
    "judge": NamedJudge,
    "model": NamedModel,
}


def rewards_named(specs: Sequence[str]) -> Reward:
    """The sum of rewards given as ``name:option=value,...``; the environment's own without any.

    Raises:
        UserError: there is no such reward, option, judge or model.
    """
    named = [selecting.parse(spec, REWARDS, "reward") for spec in specs]
    terms = (n.build() if isinstance(n, NamedJudge | NamedModel) else n for n in named)
    return Total(tuple(terms)) if specs else environment_reward


async def settled(reward: Reward, episodes: Sequence[Episode]) -> list[Episode]:
    """Ask for all that a reward has to ask for. Returns the episodes of which everything is known then."""
    for outcome in outcomes(reward):
        await outcome.settle([t for e in episodes for t in e.trajectories()])
    return [e for e in episodes if all(outcome.settles(t) for outcome in outcomes(reward) for t in e.trajectories())]


async def dismiss(reward: Reward) -> None:
    """Free what judges hold."""
    for outcome in outcomes(reward):
        if isinstance(outcome.ask, Judge):
            await outcome.ask.sampler.close()


def outcomes(reward: Reward) -> list[Outcome]:
    """What of a reward has to be settled."""
    return [term for term in (reward.terms if isinstance(reward, Total) else (reward,)) if isinstance(term, Outcome)]


def _key(trajectory: Trajectory) -> Key:
    episode = trajectory.episode
    return episode.task.id, episode.sample, episode.version, trajectory.leaf.id


def _at_end(trajectory: Trajectory, value: float) -> list[float]:
    return [*[0.0] * (len(trajectory.actions) - 1), value]
