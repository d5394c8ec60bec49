"""From episodes to arrays: all actions of a batch, each after the one before it, and all their tokens in one line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from agentgym import UserError
from agentgym_trajectories.tree import Episode, Node, Trajectory

from . import credit
from .credit import Floats, Ints

Reward = Callable[[Trajectory], Sequence[float]]  # of each action of a trajectory


@dataclass(frozen=True)
class Turns:
    """The T actions of all trajectories of E episodes.

    Attributes:
        group: (T,), number of the task.
        episode: (T,), number of the episode.
        node: (T,), id in the episode.
        parent: (T,), number of the turn before; -1 for a first turn.
        reward: (T,).
        state: (T,), equal for turns that were taken in the same state of the same task.
        visits: (T,), of a search; 0 elsewhere.
        value: (T,), mean return that a search found; 0 where it found none.
        tokens: (T,), how many the agent wrote.
        sampled: (M,), their logprobs when they were written, turn after turn.
        leaf: (N,), last turn of each trajectory.
    """

    group: Ints
    episode: Ints
    node: Ints
    parent: Ints
    reward: Floats
    state: Ints
    visits: Floats
    value: Floats
    tokens: Ints
    sampled: Floats
    leaf: Ints

    @cached_property
    def returns(self) -> Floats:
        """(N,), the sum of each trajectory's rewards."""
        return credit.earned(self.reward, self.parent)[self.leaf]

    @cached_property
    def offsets(self) -> Ints:
        """(T,), the place of each turn's first token in arrays of tokens."""
        return np.cumsum(self.tokens) - self.tokens

    @cached_property
    def depth(self) -> Ints:
        """(T,), how many turns came before."""
        return credit.earned(np.ones(len(self.parent)), self.parent).astype(np.int64) - 1

    @cached_property
    def level(self) -> Ints:
        """(T,), equal for turns of the same task that are as deep."""
        return np.asarray(self.group * (self.depth.max(initial=0) + 1) + self.depth)

    @cached_property
    def token_parents(self) -> Ints:
        """(M,), the token before each: of a turn's first one, the last one of the turn before; -1 at the beginning."""
        before = np.arange(len(self.sampled)) - 1
        last = self.offsets + self.tokens - 1
        before[self.offsets] = np.where(self.parent >= 0, last[self.parent], -1)
        return before

    @cached_property
    def token_rewards(self) -> Floats:
        """(M,), each turn's reward at its last token."""
        rewards = np.zeros(len(self.sampled))
        rewards[self.offsets + self.tokens - 1] = self.reward
        return rewards

    def outcome(self, method: Callable[[Floats, Ints], Floats]) -> Floats:
        """(T,), where `method` makes advantages of the returns of trajectories and their groups."""
        return credit.spread(method(self.returns, self.group[self.leaf]), self.leaf, self.parent)

    def per_token(self, values: Floats) -> Floats:
        """From (T,) to (M,)."""
        return np.repeat(values, self.tokens)

    @staticmethod
    def joined(parts: Sequence["Turns"]) -> "Turns":
        """Those of several batches as one, in which groups, episodes and states stay apart; the first one's numbers stay."""

        def shift(name: str, part: Turns) -> int:
            if name in ("group", "episode", "state"):
                return int(getattr(part, name).max(initial=-1)) + 1
            return len(part.tokens) if name in ("parent", "leaf") else 0

        def column(name: str) -> Any:
            ahead = np.cumsum([0, *(shift(name, p) for p in parts[:-1])])
            values = (getattr(p, name) for p in parts)
            moved = [np.where(v < 0, v, v + n) for v, n in zip(values, ahead, strict=True)]  # a parent of -1 is none anywhere
            return np.concatenate(moved)

        return Turns(**{name: column(name) for name in Turns.__dataclass_fields__})


def environment_reward(trajectory: Trajectory) -> list[float]:
    """What the environment gave for each action.

    Raises:
        UserError: nobody said what the episode was worth.
    """
    trajectory.need_verdict()
    return [n.reward or 0.0 for n in trajectory.actions]


def turns_of(episodes: Sequence[Episode], reward: Reward = environment_reward) -> Turns:
    """The turns of a batch.

    Args:
        episodes: All of the same environment.
        reward: Of each action. Where trajectories share an action, the first one's word counts.

    Raises:
        UserError: an action has no ids or logprobs: who acted was no model.
    """
    columns: dict[str, list[int | float]] = {name: [] for name in Turns.__dataclass_fields__}
    groups: dict[str, int] = {}
    states: dict[tuple[int, str], int] = {}
    for number, episode in enumerate(episodes):
        rewards: dict[int, float] = {}
        leaves = []
        for trajectory in episode.trajectories():
            for node, value in zip(trajectory.actions, reward(trajectory), strict=True):
                rewards.setdefault(node.id, value)
            leaves.append(trajectory.leaf.id)
        group = groups.setdefault(episode.task.id, len(groups))
        places = dict(zip(sorted(rewards), range(len(columns["node"]), len(columns["node"]) + len(rewards)), strict=True))
        for node_id in places:
            node = episode.nodes[node_id]
            if not node.token_ids or node.logprobs is None or len(node.logprobs) != len(node.token_ids):
                raise UserError(f"an action of task {episode.task.id} has no logged logprobs: sample from a model")
            before = episode.before(node)
            key = _state_key(episode, node, before) or f"{number}/{node_id}"  # one without a key is like no other
            columns["group"].append(group)
            columns["episode"].append(number)
            columns["node"].append(node_id)
            columns["parent"].append(places[before.id] if before else -1)
            columns["reward"].append(rewards[node_id])
            columns["state"].append(states.setdefault((group, key), len(states)))
            columns["visits"].append(node.visits)
            columns["value"].append(node.value or 0.0)
            columns["tokens"].append(len(node.token_ids))
            columns["sampled"] += node.logprobs
        columns["leaf"] += [places[leaf] for leaf in leaves]
    floats = ("reward", "visits", "value", "sampled")
    arrays: dict[str, Any] = {k: np.array(v, dtype=np.float64 if k in floats else np.int64) for k, v in columns.items()}
    return Turns(**arrays)


def _state_key(episode: Episode, node: Node, before: Node | None) -> str:
    """Of the state in which an action was taken: that after the action before it, or the one at the start."""
    return before.state_key if before else episode.nodes[node.parent].state_key
