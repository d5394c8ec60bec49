"""Pairs of siblings in a search tree."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agentgym_trajectories.tree import Episode, Node

from .base import Maker, Pair


@dataclass(frozen=True)
class Step(Maker):
    """Two actions tried in one state, whose values differ (Agent Q, arXiv:2408.07199, algorithm 1; iTool with ``ends``).

    Values are means of returns, never sums, so that an action is not better for being visited more often; an action that no
    simulation went through is in no pair.

    Attributes:
        theta: Least difference.
        visits: Each of both has been visited so often; an end is known after one visit.
        alpha: Of the mean of returns against the critic's rank, where there is one.
        ends: Only the best against the worst of a state.
        visited: Confidence by visits, that of MCTS-DPO (arXiv:2405.00451): ``1 / (1 + N_l / max(1, N_w))``; else it is 1.
        mended: Only where the action before was a mistake: what corrects the course against what does not.
    """

    theta: float = 0.1
    visits: int = 1
    alpha: float = 1.0
    ends: bool = False
    visited: bool = False
    mended: bool = False

    def __call__(self, group: Sequence[Episode]) -> Iterator[Pair]:
        """All pairs of all trees, in the order of their states."""
        for episode in group:
            states: dict[int, list[Node]] = {}
            for node in episode.nodes:
                enough = 1 if node.end is not None else max(1, self.visits)
                if node.kind == "action" and node.value is not None and node.visits >= enough:
                    states.setdefault(node.parent, []).append(node)
            for siblings in states.values():
                before = episode.before(siblings[0])
                if not self.mended or (before is not None and before.errors):
                    yield from self._pairs(episode, siblings)

    def _pairs(self, episode: Episode, siblings: list[Node]) -> Iterator[Pair]:
        ordered = sorted(siblings, key=self._quality, reverse=True)
        for better, worse in [(ordered[0], ordered[-1])] if self.ends else itertools.combinations(ordered, 2):
            gap = self._quality(better) - self._quality(worse)
            if gap >= self.theta and gap > 0:
                chosen, rejected = episode.trajectory(better.id), episode.trajectory(worse.id)
                confidence = 1 / (1 + worse.visits / max(1, better.visits)) if self.visited else 1.0
                why = f"{self._quality(better):.3f} over {better.visits} visits, {self._quality(worse):.3f} over {worse.visits}"
                yield Pair(chosen, rejected, len(chosen.actions) - 1, gap, confidence, "step", why)

    def _quality(self, node: Node) -> float:
        value = node.value or 0.0
        return value if node.rank is None else self.alpha * value + (1 - self.alpha) * node.rank
