"""How a search chooses where to go on: small policies over visits, values and ranks.

A choice says two things: where the next simulation goes (`select`: down to a state that is not expanded, or to an action whose
value is still unknown or final; None when nothing is left to do), and which of a state's new actions are evaluated (`reach`).
"""

import math
from dataclasses import dataclass
from typing import Protocol

from .tree import Edge, State


class Choice(Protocol):
    """Where to go on."""

    def select(self, root: State) -> State | Edge | None:
        """A state to expand, an action to evaluate, or None where nothing is left."""

    def reach(self, state: State) -> list[Edge]:
        """Of a state just expanded, the actions to evaluate now."""


def quality(edge: Edge, alpha: float = 1.0) -> float:
    """``alpha * mean of returns + (1 - alpha) * rank`` (Agent Q, arXiv:2408.07199, equation 5); where one is unknown, the other.

    Simulations under way count as returns of 0, so that the next one looks elsewhere (virtual loss, Chaslot et al. 2008).
    """
    node = edge.node
    mean = None if node.value is None else node.value * node.visits / (node.visits + edge.pending)
    if mean is None or node.rank is None:
        return mean if mean is not None else node.rank or 0.0
    return alpha * mean + (1 - alpha) * node.rank


class Descent:
    """From the root down, at each state by `pick` among the actions that are not settled (an end is counted once)."""

    def select(self, root: State) -> State | Edge | None:
        """A state that is not expanded, or an action never evaluated or final."""
        state = root
        while state.edges:
            if not state.open:
                return None
            edge = self.pick(state)
            if edge.state is None or edge.node.visits + edge.pending == 0:
                return edge
            state = edge.state
        return state

    def reach(self, state: State) -> list[Edge]:
        """The one that would be picked next."""
        return [self.pick(state)] if state.open else []  # others under way may have taken all

    def pick(self, state: State) -> Edge:
        """The action to follow."""
        raise NotImplementedError


@dataclass(frozen=True)
class UCB1(Descent):
    """``Q + c * sqrt(ln N(state) / (1 + N(action)))`` (Agent Q, arXiv:2408.07199, equation 4); the first of equals.

    Attributes:
        c: Weight of exploration.
        alpha: Of returns against ranks; see `quality`.
    """

    c: float = 1.0
    alpha: float = 1.0

    def pick(self, state: State) -> Edge:
        """The highest bound."""
        log = math.log(max(state.visits, 1))
        return max(state.open, key=lambda e: quality(e, self.alpha) + self.c * math.sqrt(log / (1 + e.node.visits + e.pending)))


@dataclass(frozen=True)
class PUCT(Descent):
    """``Q + w * p * sqrt(N(state)) / (1 + N(action))`` with ``p = exp(sum of logprobs / length ** 1.25)``.

    MCTS-DPO (arXiv:2405.00451, equation 3); p is multiplied by the number of merged duplicates, and is 1 without logprobs.

    Attributes:
        w: Weight of the prior.
        alpha: Of returns against ranks; see `quality`.
    """

    w: float = 1.0
    alpha: float = 1.0

    def pick(self, state: State) -> Edge:
        """The highest bound; before the first visit, the highest prior."""
        root = math.sqrt(max(state.visits, 1))
        return max(
            state.open,
            key=lambda e: quality(e, self.alpha) + self.w * prior(e) * root / (1 + e.node.visits + e.pending),
        )


def prior(edge: Edge) -> float:
    """How likely the policy was to write this action, longer ones not held against it."""
    logprobs = edge.node.logprobs
    return edge.copies * (math.exp(sum(logprobs) / len(logprobs) ** 1.25) if logprobs else 1.0)


@dataclass(frozen=True)
class BestFirst:
    """Expand the state with the highest value anywhere in the tree; a step back from a bad branch is nothing special.

    Attributes:
        alpha: Of returns against ranks; see `quality`.
    """

    alpha: float = 1.0

    def select(self, root: State) -> State | Edge | None:
        """The best of all states not expanded, the deepest of equals."""
        return max(_open(root), key=lambda s: (_worth(s, self.alpha), s.depth), default=None)

    def reach(self, state: State) -> list[Edge]:
        """All."""
        return state.edges


@dataclass(frozen=True)
class Beam:
    """Level by level, of each only the best `width` states.

    Attributes:
        width: States of a level that are expanded.
        depth: Levels that are expanded; None for all. ``Beam(1, depth=1)`` with roll-outs is best-of-n.
        alpha: Of returns against ranks; see `quality`.
    """

    width: int = 3
    depth: int | None = None
    alpha: float = 1.0

    def select(self, root: State) -> State | Edge | None:
        """The best state not expanded of the highest level that is not full."""
        done: dict[int, int] = {}
        for state in root.below():
            done[state.depth] = done.get(state.depth, 0) + bool(state.edges or (state.edge and state.edge.pending))
        room = [s for s in _open(root) if done[s.depth] < self.width and (self.depth is None or s.depth < self.depth)]
        return max(room, key=lambda s: (-s.depth, _worth(s, self.alpha)), default=None)

    def reach(self, state: State) -> list[Edge]:
        """All."""
        return state.edges


@dataclass(frozen=True)
class Spread:
    """Level by level without regard to values: groups of siblings for RL.

    Tree-GRPO (arXiv:2509.21240) expands random nodes of finished chains; here the order is fixed, so that it can be repeated.
    """

    def select(self, root: State) -> State | Edge | None:
        """The shallowest state not expanded, the first of equals."""
        return min(_open(root), key=lambda s: s.depth, default=None)

    def reach(self, state: State) -> list[Edge]:
        """All."""
        return state.edges


def _open(root: State) -> list[State]:
    return [s for s in root.below() if not s.edges and not (s.edge and s.edge.pending)]


def _worth(state: State, alpha: float) -> float:
    return quality(state.edge, alpha) if state.edge else 0.0
