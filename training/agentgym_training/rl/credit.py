"""Credit: which action earned what. Pure functions on arrays, in float64.

Shapes: N trajectories, T turns (actions), G tasks. `group` names the task of each trajectory or turn. Turns form a forest:
``parent`` (T,) is the index of the turn before, always a smaller one, and -1 where an episode begins. An episode without
branches is a chain; everything below says what it does at a branch. `leaf` (N,) is the last turn of each trajectory.

An advantage is what the policy gradient of an action is multiplied by. Where there is nothing to compare with, it is 0.

=====================  ==================================  ==========================================  ====================
function               advantage                           normaliser                                  paper
=====================  ==================================  ==========================================  ====================
`grpo`                 r - mean                            std of the group (n - 1) + 1e-4             arXiv:2402.03300
`dr_grpo`              r - mean                            none                                        arXiv:2503.20783
`rloo`                 r - mean of the others              none                                        arXiv:2402.14740
`reinforce_baseline`   r - mean                            mean and std of the batch                   arXiv:2501.03262
`by_state`             x - mean over the same state        none                                        GiGPO arXiv:2505.10978
`siblings`             q - mean over the siblings          none                                        Tree-GRPO 2509.21240
`gae`                  sum of (gamma lambda)^k delta       none                                        arXiv:1506.02438
`utterances`           Q - V + lambda (what came - Q)      none                                        ArCHer 2402.19446
=====================  ==================================  ==========================================  ====================
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

EPSILON = 1e-4  # as in TRL; where all rewards of a group are equal the numerator is exactly 0


# ---- trajectories: (N,) returns and (N,) groups to (N,) advantages ----------------------------------------------------------


def grpo(returns: Floats, group: Ints) -> Floats:
    """Return minus the group's mean, in the group's standard deviations (with n - 1, as in TRL; the paper does not say)."""
    apart = dr_grpo(returns, group)
    counts = _sums(np.ones_like(returns), group)
    variance = _sums(apart**2, group) / np.maximum(counts - 1, 1)
    return np.asarray(apart / (np.sqrt(variance) + EPSILON))


def dr_grpo(returns: Floats, group: Ints) -> Floats:
    """Return minus the group's mean: without the division, tasks that are nearly solved do not weigh more than others."""
    apart = returns - group_mean(returns, group)
    return np.where(alike(returns, group), 0.0, apart)  # rounding must not make a difference out of none


def rloo(returns: Floats, group: Ints) -> Floats:
    """Return minus the mean of the others of the group, which is `dr_grpo` times n / (n - 1); alone, 0."""
    counts = _sums(np.ones_like(returns), group)
    return np.asarray(dr_grpo(returns, group) * counts / np.maximum(counts - 1, 1))


def reinforce_baseline(returns: Floats, group: Ints) -> Floats:
    """REINFORCE++ with a baseline: return minus the group's mean, then standardised over the whole batch.

    Departure: mean and deviation are taken over trajectories; the paper's code takes them over tokens, so long ones count more.
    """
    apart = dr_grpo(returns, group)
    return np.asarray((apart - apart.mean()) / (apart.std() + EPSILON)) if apart.any() else apart


def alike(returns: Floats, group: Ints) -> NDArray[np.bool_]:
    """(N,), whether all returns of the trajectory's group are equal: such a group teaches nothing (DAPO, arXiv:2503.14476)."""
    _, index = np.unique(group, return_inverse=True)
    low, high = np.full(index.max(initial=-1) + 1, np.inf), np.full(index.max(initial=-1) + 1, -np.inf)
    np.minimum.at(low, index, returns)
    np.maximum.at(high, index, returns)
    return np.asarray((low == high)[index])


def group_mean(values: Floats, group: Ints) -> Floats:
    """The mean of each one's group; as long as the arguments."""
    return _sums(values, group) / _sums(np.ones_like(values), group)


# ---- turns: (T,) to (T,), along a forest ------------------------------------------------------------------------------------


def earned(reward: Floats, parent: Ints) -> Floats:
    """The sum of the rewards from the beginning to each turn, its own included."""
    total = reward.copy()
    for t, before in enumerate(parent):
        if before >= 0:
            total[t] += total[before]
    return total


def spread(values: Floats, leaf: Ints, parent: Ints) -> Floats:
    """From trajectories (N,) to turns (T,): each turn has the mean over the trajectories that it is part of.

    A turn that several trajectories share is trained once, so it gets one number; that of a chain is the trajectory's own.
    """
    total, count = np.zeros(len(parent)), np.zeros(len(parent))
    for value, t in zip(values, leaf, strict=True):
        while t >= 0:
            total[t] += value
            count[t] += 1
            t = parent[t]
    return np.asarray(total / np.maximum(count, 1))


def return_to_go(reward: Floats, parent: Ints, gamma: float) -> Floats:
    """Reward from each turn on, a turn later being worth `gamma` of it: G_t = r_t + gamma G_(t+1).

    At a branch, G_(t+1) is the mean over the ways on.
    """
    ahead = _Ahead(parent)
    for t in range(len(parent) - 1, -1, -1):
        ahead.tell(t, reward[t] + gamma * ahead.mean(t))
    return ahead.values


def gae(reward: Floats, value: Floats, parent: Ints, gamma: float, lam: float) -> Floats:
    """Generalised advantage estimation over turns, or over tokens where `parent` says which token comes before which.

    delta_t = r_t + gamma V_(t+1) - V_t and A_t = delta_t + gamma lam A_(t+1); A + V is what the critic is to learn. At a branch,
    V_(t+1) and A_(t+1) are means over the ways on. After the last turn the value is 0, also where the episode was cut off: the
    limits of turns and tokens are part of the task, and nobody observed the state after them.

    Args:
        reward: (T,).
        value: (T,), of the state in which each turn, or token, was chosen.
        parent: (T,).
        gamma: Discount.
        lam: 0 trusts the critic, 1 the outcome.
    """
    advantages, values = _Ahead(parent), _Ahead(parent)
    for t in range(len(parent) - 1, -1, -1):
        delta = reward[t] + gamma * values.mean(t) - value[t]
        values.tell(t, value[t])
        advantages.tell(t, delta + gamma * lam * advantages.mean(t))
    return advantages.values


def next_mean(values: Floats, parent: Ints) -> Floats:
    """Of each turn the mean of `values` over the turns that follow it; 0 after a last one."""
    following = parent >= 0
    total, count = np.zeros(len(parent)), np.zeros(len(parent))
    np.add.at(total, parent[following], values[following])
    np.add.at(count, parent[following], 1)
    return np.asarray(total / np.maximum(count, 1))


def by_state(values: Floats, state: Ints) -> Floats:
    """GiGPO's second part: what came after this turn, minus the mean over all turns in the same state of the same task.

    A state that was met once gives 0. (The public code gives it the raw return, which rewards rare states.)
    """
    return dr_grpo(values, state)


def siblings(values: Floats, visits: Floats, parent: Ints, root: Ints) -> Floats:
    """What an action of a tree is worth beside those tried in the same place: q minus the mean over the siblings.

    The mean is weighted by visits, as the value of a state is in the search that made them. Actions never visited have no value,
    are nobody's sibling and get 0, and so does an only child.

    Args:
        values: (T,), in units of the total reward; anything where there were no visits.
        visits: (T,).
        parent: (T,).
        root: (T,), the tree: what tells first actions of different trees apart.
    """
    known = visits > 0
    q = np.where(known, values, 0.0)
    place = np.where(parent >= 0, parent, len(parent) + root)
    mean = _sums(q * visits, place) / np.maximum(_sums(visits, place), 1)
    only = _sums(known.astype(float), place) < 2
    return np.where(known & ~only, q - mean, 0.0)


def utterances(reward: Floats, q: Floats, v: Floats, parent: Ints, gamma: float, lam: float) -> Floats:
    """Of a critic that values states and actions: its advantage, and a share of what it did not foresee.

    A_t = Q_t - V_t + e_t with e_t = lam (r_t + gamma V_(t+1) - Q_t + gamma e_(t+1)). ArCHer's is lam = 0: the luck of the outcome
    is not in it, nor what the critic cannot tell apart, be it a wrong digit. With lam = 1 the outcome is believed, less what the
    critic says of later actions; Retrace (arXiv:1606.02647) weakens the same sum. Means at a branch, as in `gae`.

    Args:
        reward: (T,).
        q: (T,), of each turn's action.
        v: (T,), of the state in which it was chosen.
        parent: (T,).
        gamma: Discount.
        lam: 0 trusts the critic, 1 the outcome.
    """
    ahead, unforeseen = next_mean(v, parent), _Ahead(parent)
    for t in range(len(parent) - 1, -1, -1):
        unforeseen.tell(t, lam * (reward[t] + gamma * ahead[t] - q[t] + gamma * unforeseen.mean(t)))
    return np.asarray(q - v + unforeseen.values)


class _Ahead:
    """Values found from the end to the beginning, and of each turn the mean over those that follow it."""

    def __init__(self, parent: Ints) -> None:
        self.values = np.zeros(len(parent))
        self._parent, self._sum, self._count = parent, np.zeros(len(parent)), np.zeros(len(parent))

    def mean(self, t: int) -> float:
        return float(self._sum[t] / self._count[t]) if self._count[t] else 0.0

    def tell(self, t: int, value: float) -> None:
        self.values[t] = value
        if (before := self._parent[t]) >= 0:
            self._sum[before] += value
            self._count[before] += 1


def _sums(values: Floats, group: Ints) -> Floats:
    """The sum over each one's group."""
    _, index = np.unique(group, return_inverse=True)
    return np.bincount(index, values).astype(np.float64)[index]
