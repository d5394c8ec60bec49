"""Credit against definitions written out one by one, in plain Python, and hand-worked numbers."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym_training.rl import credit

number = st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 3))


@st.composite
def grouped(draw):
    group = draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    return np.array(draw(st.lists(number, min_size=len(group), max_size=len(group)))), np.array(group)


@st.composite
def forest(draw, columns=1):
    parent = [draw(st.integers(-1, t - 1)) for t in range(draw(st.integers(1, 12)))]
    values = draw(st.lists(st.tuples(*[number] * columns), min_size=len(parent), max_size=len(parent)))
    return np.array(parent), *np.array(values).T


def children(parent, t):
    return [c for c, p in enumerate(parent) if p == t]


def mean(values):
    return math.fsum(values) / len(values) if values else 0.0


def others(returns, group, i):
    return [r for j, (r, g) in enumerate(zip(returns, group, strict=True)) if g == group[i] and j != i]


@given(grouped())
@settings(max_examples=200, deadline=None)
def test_advantages_of_trajectories(batch):
    returns, group = batch
    found = {f.__name__: f(returns, group) for f in (credit.grpo, credit.dr_grpo, credit.rloo, credit.reinforce_baseline)}
    apart = []
    for i, r in enumerate(returns):
        rest = others(returns, group, i)
        all_of_it = [r, *rest]
        apart.append(r - mean(all_of_it))
        assert found["dr_grpo"][i] == pytest.approx(apart[-1], abs=1e-9)
        assert found["rloo"][i] == pytest.approx(r - mean(rest) if rest else 0.0, abs=1e-9)
        deviation = statistics.stdev(all_of_it) if rest else 1.0
        assert found["grpo"][i] == pytest.approx(apart[-1] / (deviation + 1e-4), rel=1e-6, abs=1e-6)
    deviation = statistics.pstdev(apart) + 1e-4
    if any(found["dr_grpo"]):
        assert found["reinforce_baseline"] == pytest.approx([(a - mean(apart)) / deviation for a in apart], rel=1e-6, abs=1e-6)


@given(grouped())
def test_groups_whose_returns_are_equal_teach_nothing(batch):
    returns, group = batch
    same = credit.alike(returns, group)
    for i, r in enumerate(returns):
        assert same[i] == all(x == r for x in others(returns, group, i))
        if same[i]:
            assert credit.grpo(returns, group)[i] == credit.dr_grpo(returns, group)[i] == credit.rloo(returns, group)[i] == 0
    equal = np.full(len(group), 0.1 + 0.2)
    for f in (credit.grpo, credit.dr_grpo, credit.rloo, credit.reinforce_baseline):
        assert not f(equal, group).any()


@given(forest(columns=1), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_sums_along_a_forest(drawn, gamma):
    parent, reward = drawn

    def before(t):
        return reward[t] + (before(parent[t]) if parent[t] >= 0 else 0.0)

    def after(t):
        return reward[t] + gamma * mean([after(c) for c in children(parent, t)])

    everything = range(len(parent))
    assert credit.earned(reward, parent) == pytest.approx([before(t) for t in everything])
    assert credit.return_to_go(reward, parent, gamma) == pytest.approx([after(t) for t in everything])


@given(forest(columns=1))
def test_what_comes_next(drawn):
    parent, values = drawn
    wanted = [mean([values[c] for c in children(parent, t)]) for t in range(len(parent))]
    assert credit.next_mean(values, parent) == pytest.approx(wanted)


@given(forest(columns=1))
def test_a_turn_has_the_mean_over_its_trajectories(drawn):
    parent, values = drawn
    leaf = np.array([t for t in range(len(parent)) if not children(parent, t)])
    values = values[: len(leaf)]

    def below(t):
        return [t] if t in leaf else [x for c in children(parent, t) for x in below(c)]

    wanted = [mean([values[list(leaf).index(x)] for x in below(t)]) for t in range(len(parent))]
    assert credit.spread(values, leaf, parent) == pytest.approx(wanted)


@given(forest(columns=2), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_gae_is_the_mean_over_ways_of_discounted_errors(drawn, gamma, lam):
    """As the definition has it: the expectation, over ways on chosen evenly at each branch, of the sum over (gamma lambda)^k delta."""
    parent, reward, value = drawn

    def ways(t):
        """Each way from t to a leaf with its probability."""
        below = children(parent, t)
        return [(1.0, [t])] if not below else [(p / len(below), [t, *w]) for c in below for p, w in ways(c)]

    def delta(t):
        return reward[t] + gamma * mean([value[c] for c in children(parent, t)]) - value[t]

    wanted = [
        math.fsum(p * (gamma * lam) ** k * delta(x) for p, way in ways(t) for k, x in enumerate(way)) for t in range(len(parent))
    ]
    assert credit.gae(reward, value, parent, gamma, lam) == pytest.approx(wanted, abs=1e-9)


def test_gae_by_hand():
    """Rewards 0, 0, 1; values 0.5, 0.6, 0.9; gamma 0.9, lambda 0.5: deltas 0.04, 0.21, 0.1."""
    chain = np.array([-1, 0, 1])
    found = credit.gae(np.array([0.0, 0, 1]), np.array([0.5, 0.6, 0.9]), chain, 0.9, 0.5)
    assert found == pytest.approx([0.04 + 0.45 * (0.21 + 0.45 * 0.1), 0.21 + 0.45 * 0.1, 0.1])


@given(st.lists(number, min_size=1, max_size=10), st.floats(0, 1))
def test_gae_with_lambda_one_is_the_return_minus_the_value(rewards, gamma):
    reward, value = np.array(rewards), np.array(rewards[::-1])
    chain = np.arange(len(rewards)) - 1
    wanted = credit.return_to_go(reward, chain, gamma) - value
    assert credit.gae(reward, value, chain, gamma, 1.0) == pytest.approx(wanted, abs=1e-9)


@given(grouped())
def test_a_state_met_once_gives_nothing(batch):
    values, state = batch
    found = credit.by_state(values, state)
    for i, v in enumerate(values):
        rest = others(values, state, i)
        assert found[i] == pytest.approx(v - mean([v, *rest]), abs=1e-9)
        if not rest:
            assert found[i] == 0


@given(forest(columns=1), st.data())
@settings(max_examples=200, deadline=None)
def test_siblings_are_compared_with_each_other_alone(drawn, data):
    parent, value = drawn
    visits = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(parent), max_size=len(parent))), dtype=float)
    root = np.array([t if p < 0 else 0 for t, p in enumerate(parent)]) % 2  # some first turns are of the same tree
    found = credit.siblings(value, visits, parent, root)
    for t, p in enumerate(parent):
        beside = [s for s, q in enumerate(parent) if q == p and visits[s] and (p >= 0 or root[s] == root[t])]
        if not visits[t] or beside == [t]:
            assert found[t] == 0
        else:
            wanted = value[t] - math.fsum(value[s] * visits[s] for s in beside) / math.fsum(visits[s] for s in beside)
            assert found[t] == pytest.approx(wanted, abs=1e-9)


@given(forest(columns=3), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_what_a_critic_did_not_foresee(drawn, gamma, lam):
    """Of each action what came less what was expected, later surprises included, weakened by each choice between."""
    parent, reward, q, v = drawn

    def unforeseen(t):
        return lam * (reward[t] + gamma * mean([v[c] + unforeseen(c) for c in children(parent, t)]) - q[t])

    wanted = [q[t] - v[t] + unforeseen(t) for t in range(len(parent))]
    assert credit.utterances(reward, q, v, parent, gamma, lam) == pytest.approx(wanted, abs=1e-9)


def test_a_critic_is_believed_or_corrected():
    """Two turns, a reward of 1 at the end; the critic sees 0.5 throughout, and a good last action."""
    reward, q, v, parent = np.array([0.0, 1]), np.array([0.5, 0.9]), np.array([0.5, 0.5]), np.array([-1, 0])
    assert credit.utterances(reward, q, v, parent, 1.0, 0.0) == pytest.approx([0, 0.4])
    assert credit.utterances(reward, q, v, parent, 1.0, 1.0) == pytest.approx([0.1, 0.5])  # 1 - 0.5, less the 0.4 of the last
