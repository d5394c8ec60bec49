"""Losses against formulas written another way: float64, token by token, without a shared helper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import UserError
from agentgym_training.losses import LOSSES, Constants, Side, find_loss, kl_estimate, preference_loss

rng = np.random.default_rng(0)


class Sequence:
    """Logprobs of 12 tokens under policy and reference, of which the environment wrote some."""

    def __init__(self, agent: int) -> None:
        self.policy, self.reference = -rng.exponential(0.4, 12), -rng.exponential(0.4, 12)
        self.agent = sorted(rng.choice(12, agent, replace=False))

    def sum(self) -> float:
        return sum(self.policy[i] for i in self.agent)

    def ratio(self) -> float:
        """pi(y) / ref(y)."""
        return math.prod(math.exp(self.policy[i]) / math.exp(self.reference[i]) for i in self.agent)

    def geometric(self) -> float:
        """The geometric mean of the tokens' probabilities."""
        return math.prod(math.exp(self.policy[i]) for i in self.agent) ** (1 / len(self.agent))


def odds(p: float) -> float:
    return p / (1 - p)


def bradley_terry(a: float, b: float) -> float:
    """-log P(a beats b) for strengths a and b."""
    return -math.log(a / (a + b))


def expected(name: str, w: Sequence, l: Sequence, beta: float, gamma: float, z: float) -> float:  # noqa: E741
    n, m = len(w.agent), len(l.agent)
    match name:
        case "dpo":
            return bradley_terry(w.ratio() ** beta, l.ratio() ** beta)
        case "ipo":
            return (math.log(w.ratio() ** (1 / n) / l.ratio() ** (1 / m)) - 0.5 / beta) ** 2
        case "hinge":
            margin = math.log(w.ratio() / l.ratio())
            return 0.0 if beta * margin > 1 else 1 - beta * margin
        case "kto":
            value = [
                w.ratio() ** beta / (w.ratio() ** beta + math.exp(beta * z)),
                math.exp(beta * z) / (l.ratio() ** beta + math.exp(beta * z)),
            ]
            return 1 - sum(value) / 2
        case "simpo":
            return bradley_terry(w.geometric() ** beta, l.geometric() ** beta * math.exp(gamma))
        case "orpo":
            return beta * bradley_terry(odds(w.geometric()), odds(l.geometric()))
        case "asft":  # sigma(log odds of p) is p
            return -beta * (math.log(w.geometric()) + math.log(1 - l.geometric()))
        case "cpo" | "tpo":
            return bradley_terry(math.exp(beta * w.sum()), math.exp(beta * l.sum()))
    raise AssertionError(name)


def side(*sequences: Sequence) -> Side:
    def summed(values: str) -> torch.Tensor:
        return torch.tensor([sum(getattr(s, values)[i] for i in s.agent) for s in sequences], dtype=torch.float64)

    return Side(summed("policy"), summed("reference"), torch.tensor([len(s.agent) for s in sequences]))


@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_the_formulas(name, smoothed):
    better, worse = ([Sequence(int(rng.integers(1, 13))) for _ in range(20)] for _ in range(2))
    smoothing = rng.uniform(0, 0.5, 20) if smoothed else np.zeros(20)
    beta, gamma, z, sft = 0.7, 0.3, 0.2, 0.25
    wanted = [
        (1 - s) * expected(name, w, v, beta, gamma if name == "simpo" else 0.0, z)
        + s * expected(name, v, w, beta, gamma if name == "simpo" else 0.0, z)
        - sft * math.log(w.geometric())
        for w, v, s in zip(better, worse, smoothing, strict=True)
    ]
    constants = Constants(beta, gamma if name == "simpo" else 0.0, sft, torch.tensor(z, dtype=torch.float64))
    found = preference_loss(name, side(*better), side(*worse), constants, torch.tensor(smoothing))
    assert found.tolist() == pytest.approx(wanted, rel=1e-9)


def test_multi_turn_dpo_is_a_sum_over_turns():
    """M-DPO, arXiv:2409.02392: turns are added, what the environment says between them is not."""
    turns = rng.normal(size=(2, 3, 4))  # sides, turns, (policy, reference) of the turn and (policy, reference) of its observation
    margin = sum(turns[0, h, 0] - turns[0, h, 1] - turns[1, h, 0] + turns[1, h, 1] for h in range(3))
    sums = torch.tensor(turns.sum(1))
    chosen, rejected = (Side(s[None, 0], s[None, 1], torch.tensor([3])) for s in sums)
    found = preference_loss("dpo", chosen, rejected, Constants(0.5))
    assert found.item() == pytest.approx(math.log(1 + math.exp(-0.5 * margin)))


number = st.floats(-200, 0)
sides = st.builds(
    lambda p, r, n: Side(torch.tensor([p], dtype=torch.float64), torch.tensor([r], dtype=torch.float64), torch.tensor([n])),
    number,
    number,
    st.integers(1, 50),
)


def value(name: str, chosen: Side, rejected: Side, beta: float = 0.3, smoothing: float = 0.0) -> float:
    return preference_loss(name, chosen, rejected, Constants(beta), smoothing).item()


@given(st.sampled_from(list(LOSSES)), sides, sides)
@settings(max_examples=300, deadline=None)
def test_a_label_that_may_be_wrong_half_the_time_says_nothing(name, one, other):
    assert value(name, one, other, smoothing=0.5) == pytest.approx(value(name, other, one, smoothing=0.5), rel=1e-9)


@given(sides, sides)
@settings(max_examples=200, deadline=None)
def test_both_orders_of_dpo_differ_by_the_margin(one, other):
    margin = (one.delta - other.delta).item()
    assert value("dpo", one, other) - value("dpo", other, one) == pytest.approx(-0.3 * margin, abs=1e-9)
    assert value("hinge", one, other) >= 0
    assert value("dpo", one, other) + 1e-12 >= math.log(2) - 0.3 * margin / 2  # convex: above its tangent at 0


@given(st.sampled_from([name for name in LOSSES if name != "ipo"]), sides, sides, st.floats(0.01, 5))
@settings(max_examples=300, deadline=None)
def test_a_likelier_chosen_side_is_never_worse(name, one, other, more):
    raised = Side(one.logps + min(more, -one.logps.item()), one.ref_logps, one.lengths)
    assert value(name, raised, other) <= value(name, one, other) + 1e-12
    assert value(name, other, raised) >= value(name, other, one) - 1e-12


@given(st.sampled_from(list(LOSSES)), sides, sides)
@settings(max_examples=300, deadline=None)
def test_losses_and_gradients_stay_finite(name, one, other):
    moving = [Side(s.logps.float().requires_grad_(), s.ref_logps.float(), s.lengths) for s in (one, other)]
    preference_loss(name, *moving, Constants(0.3, sft=1.0)).sum().backward()
    assert all(torch.isfinite(s.logps.grad).all() for s in moving)


def test_limits():
    far, near = (Side(torch.tensor([x]), torch.tensor([0.0]), torch.tensor([1])) for x in (-500.0, 0.0))
    assert value("dpo", near, far) == 0
    assert value("dpo", far, near) == pytest.approx(150)
    assert value("dpo", near, near) == pytest.approx(math.log(2))
    assert value("hinge", near, near) == 1
    assert value("kto", near, far) == pytest.approx(0.25)
    assert value("ipo", near, near) == pytest.approx((1 / 0.6) ** 2)
    best = Side(torch.tensor([1 / 0.6]), torch.tensor([0.0]), torch.tensor([1]))
    assert value("ipo", best, near) == pytest.approx(0)


def test_equal_sides_without_weights_have_no_gradient():
    empty = Side(torch.zeros(1, requires_grad=True), torch.zeros(1), torch.zeros(1))
    for name in LOSSES:
        assert math.isfinite(preference_loss(name, empty, empty, Constants(0.1)).item())


def test_what_kto_measures_has_no_gradient_and_is_not_negative():
    logps = torch.tensor([-1.0, -2.0], requires_grad=True)
    assert kl_estimate(logps, torch.tensor([-2.0, -2.0])).item() == 0.5
    assert kl_estimate(logps, torch.tensor([0.0, 0.0])).item() == 0
    assert not kl_estimate(logps, logps).requires_grad


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="no preference loss 'ppo': choose from dpo, ipo"):
        find_loss("ppo")
