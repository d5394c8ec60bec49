"""Published findings as properties of the split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym import UserError
from agentgym_training.budget import COLD, FINDINGS, Offer, Plan, plan


def test_under_a_thousand_examples_there_is_sft_alone() -> None:
    assert plan(Offer(900, 1.0, 0, 1.0)) == Plan(900, 0, 900.0, ("few",))
    assert plan(Offer(5000, 1.0, 5000, 1.0, budget=999)) == Plan(999, 0, 999.0, ("few",))


def test_more_money_goes_to_pairs_in_growing_shares() -> None:
    shares = []
    for budget in (1_000, 2_000, 5_000, 20_000, 80_000):
        found = plan(Offer(100_000, 1.0, 100_000, 1.0, budget))
        assert found.cost == pytest.approx(budget, abs=2)
        shares.append(found.examples / budget)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    assert shares[3] == pytest.approx(0.25, abs=1e-3)
    assert shares[4] == pytest.approx(0.25, abs=1e-3)
    assert "own" in plan(Offer(100_000, 1.0, 100_000, 1.0, 20_000)).findings


def test_no_preference_stage_from_a_cold_start() -> None:
    with pytest.raises(UserError, match="needs SFT first"):
        plan(Offer(0, 1.0, 5000, 1.0))
    found = plan(Offer(100, 1.0, 50_000, 1.0))
    assert (found.examples, found.pairs) == (100, 900)  # a tenth is SFT


def test_what_is_not_on_offer_is_not_bought() -> None:
    assert plan(Offer(10_000, 1.0, 0, 1.0)).pairs == 0
    assert plan(Offer(10_000, 1.0, 0, 1.0)).examples == 10_000
    with pytest.raises(UserError, match="prices over 0"):
        plan(Offer(10, 0.0, 10, 1.0))
    with pytest.raises(UserError, match="at least 0"):
        plan(Offer(-1, 1.0, 10, 1.0))


@given(
    examples=st.integers(1, 50_000),
    pairs=st.integers(0, 100_000),
    prices=st.tuples(st.floats(0.01, 20), st.floats(0.01, 20)),
    share=st.floats(0.3, 1.0),
)
def test_a_plan_keeps_to_money_offers_and_findings(examples: int, pairs: int, prices: tuple[float, float], share: float) -> None:
    budget = max(prices[0], share * (examples * prices[0] + pairs * prices[1]))
    found = plan(Offer(examples, prices[0], pairs, prices[1], budget))
    assert found.cost <= budget * (1 + 1e-9) + 1e-6
    assert 1 <= found.examples <= examples
    assert 0 <= found.pairs <= pairs
    assert found.pairs * prices[1] * COLD <= found.examples * prices[0] * (1 - COLD) + 1e-6
    if budget / prices[0] < 1000:
        assert found.pairs == 0
    assert all(name in FINDINGS for name in found.findings)
