"""Pairs of whole trajectories of one task."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from agentgym_trajectories.tree import Episode, Trajectory

from .base import Maker, Pair


@dataclass(frozen=True)
class Outcome(Maker):
    """The higher reward against the lower (ETO, arXiv:2403.02502, section 3.3; ties make no pair).

    The paper pairs an expert's trajectory with an explored one; here all trajectories of the task take part, an expert's too when
    it was collected into the same run, as do all leaves of a tree.

    Attributes:
        margin: Least difference of rewards.
        expert: Only pairs whose chosen side is of this policy version; empty for any.
    """

    margin: float = 0.0
    expert: str = ""

    def __call__(self, group: Sequence[Episode]) -> Iterator[Pair]:
        """All pairs of the group."""
        ended = sorted((t for e in group for t in e.trajectories()), key=lambda t: t.reward, reverse=True)
        for better, worse in itertools.combinations(ended, 2):
            gap = better.reward - worse.reward
            if gap > 0 and gap >= self.margin and (not self.expert or better.episode.version == self.expert):
                yield from paired(better, worse, gap, "outcome", f"reward {better.reward:.3f} against {worse.reward:.3f}")


@dataclass(frozen=True)
class Spin(Maker):
    """A demonstration against the policy's own attempt, whatever that earned (SPIN, arXiv:2401.01335, algorithm 1).

    Attributes:
        expert: The policy version of the demonstrations, collected into the same run.
    """

    expert: str = "oracle"

    def __call__(self, group: Sequence[Episode]) -> Iterator[Pair]:
        """Each demonstration with each attempt."""
        shown = [t for e in group if e.version == self.expert for t in e.trajectories()]
        tried = [t for e in group if e.version != self.expert for t in e.trajectories()]
        for real, own in itertools.product(shown, tried):
            yield from paired(real, own, real.reward - own.reward, "spin", f"{self.expert} against {own.episode.version}")


@dataclass(frozen=True)
class Rso(Maker):
    """Pairs among samples of the optimal policy, found by rejection (RSO, arXiv:2309.06657, algorithm 1).

    A trajectory is accepted with probability ``exp((r - r_max) / beta)``, until `accept` are; the accepted are paired by reward.

    Attributes:
        beta: The lower, the closer to the best.
        accept: Trajectories of a task.
        seed: Of the draws.
    """

    beta: float = 0.5
    accept: int = 8
    seed: int = 0

    def __call__(self, group: Sequence[Episode]) -> Iterator[Pair]:
        """Pairs of the accepted."""
        left = [t for e in group for t in e.trajectories()]
        rng = random.Random(f"{self.seed}/{group[0].task.id}")
        accepted: list[Trajectory] = []
        while left and len(accepted) < self.accept:
            highest = max(t.reward for t in left)
            for t in list(left):
                if len(accepted) < self.accept and rng.random() < math.exp((t.reward - highest) / self.beta):
                    accepted.append(t)
                    left.remove(t)
        for better, worse in itertools.combinations(sorted(accepted, key=attrgetter("reward"), reverse=True), 2):
            if better.reward > worse.reward:
                yield from paired(better, worse, better.reward - worse.reward, "rso", f"accepted at beta {self.beta:g}")


def paired(chosen: Trajectory, rejected: Trajectory, margin: float, method: str, reason: str) -> Iterator[Pair]:
    """A pair of whole trajectories; none where both did not see the same beginning, or one is the beginning of the other.

    Actions that both share (of one tree) carry no loss: they would be pulled both ways.
    """
    roots = [t.branches[0][0] for t in (chosen, rejected)]
    if roots[0].messages != roots[1].messages or chosen.episode.tools != rejected.episode.tools:
        return
    first = 0
    if chosen.episode is rejected.episode:
        ids = zip(chosen.actions, rejected.actions, strict=False)
        first = sum(1 for _ in itertools.takewhile(lambda both: both[0].id == both[1].id, ids))
    if first < min(len(chosen.actions), len(rejected.actions)):
        yield Pair(chosen, rejected, first, margin, 1.0, method, reason)
