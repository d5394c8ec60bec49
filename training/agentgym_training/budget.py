"""How published findings would spend a budget of labels between demonstrations (SFT) and preference pairs.

The budget is counted in demonstrations: ``n = money / price of a demonstration``. Of the money goes to demonstrations

    all of it                                              while n < 1,000,
    1 - 0.75 x log(n / 1,000) / log(20), at least 0.25     from there on,

and the rest to pairs; what is not on offer on one side goes to the other, with one exception: pairs cost at most nine times what
the demonstrations cost, so that no preference tuning begins cold. The 1,000, the tenth and the growing share of pairs are
findings; the curve between 1,000 (all) and 20,000 (a quarter) is an interpolation of them, since none is published.
"""

import math
from dataclasses import dataclass

from agentgym import UserError

FEW, MANY = 1_000, 20_000  # demonstrations
LEAST, COLD = 0.25, 0.1  # shares of the budget

FINDINGS = {
    "few": (
        "Under about 1,000 annotated examples, SFT alone does best.",
        "Raghavendra, Kang & Ritter 2025, Balancing the Budget (arXiv:2502.11284)",
    ),
    "more": (
        "With larger budgets SFT and then preference tuning does best, with a growing part for pairs.",
        "Raghavendra, Kang & Ritter 2025 (arXiv:2502.11284); the curve between its findings is an interpolation",
    ),
    "cold": (
        "Preference tuning from a cold start loses: a tenth of the budget in SFT first gained 15 to 20 % on GSM8K.",
        "Raghavendra, Kang & Ritter 2025 (arXiv:2502.11284)",
    ),
    "own": (
        "Pairs of the tuned model's own samples teach more than other models' pairs: collect them after SFT.",
        "Tajwar et al. 2024, Preference Fine-Tuning Should Leverage Suboptimal, On-Policy Data (arXiv:2404.14367)",
    ),
    "good": (
        "A thousand well-chosen demonstrations can teach a style: select before you buy more.",
        "Zhou et al. 2023, LIMA (arXiv:2305.11206)",
    ),
}


@dataclass(frozen=True)
class Offer:
    """What can be had.

    Attributes:
        examples: Labelled demonstrations on offer.
        example_price: Of each, in any currency.
        pairs: Labelled pairs on offer.
        pair_price: Of each.
        budget: Money to spend; None for as much as all of it costs.
    """

    examples: int
    example_price: float
    pairs: int
    pair_price: float
    budget: float | None = None


@dataclass(frozen=True)
class Plan:
    """What to take.

    Attributes:
        examples: Demonstrations, for SFT.
        pairs: Pairs, for preference tuning after it.
        cost: Of both.
        findings: Names in `FINDINGS` that this rests on.
    """

    examples: int
    pairs: int
    cost: float
    findings: tuple[str, ...]


def plan(offer: Offer) -> Plan:
    """Split an offer.

    Raises:
        UserError: a negative number, a price that is not over 0, or nothing that can be paid.
    """
    if min(offer.examples, offer.pairs) < 0 or min(offer.example_price, offer.pair_price) <= 0:
        raise UserError("numbers of examples and pairs are at least 0, prices over 0")
    everything = offer.examples * offer.example_price + offer.pairs * offer.pair_price
    money = everything if offer.budget is None else min(offer.budget, everything)
    n = money / offer.example_price
    share = 1.0 if n < FEW else max(LEAST, 1 - (1 - LEAST) * math.log(n / FEW) / math.log(MANY / FEW))
    wanted = money * share
    examples = min(offer.examples, _count(wanted, offer.example_price))
    rest = money - examples * offer.example_price
    warmed = examples * offer.example_price * (1 - COLD) / COLD
    pairs = min(offer.pairs, _count(min(rest, warmed), offer.pair_price)) if n >= FEW else 0
    rest -= pairs * offer.pair_price
    examples += min(offer.examples - examples, _count(rest, offer.example_price))
    if not examples:
        raise UserError("there are no examples to begin with: preference tuning needs SFT first; label some, or raise --budget")
    findings = ["few"] if n < FEW else ["more", "cold"]
    findings += ["own"] if pairs else []
    findings += ["good"] if examples > FEW else []
    return Plan(examples, pairs, examples * offer.example_price + pairs * offer.pair_price, tuple(findings))


def _count(money: float, price: float) -> int:
    return math.floor(money / price + 1e-9)
