"""Preference losses: pure functions of what a policy and a reference say about the two sides of pairs.

Shapes: B pairs, R sequences. All logarithms are natural.

- ``log pi(y)`` (B,): the sum of the policy's log-probabilities over a side's action tokens, |y| of them. Observations, and
  actions that both sides share, are masked out, also in |y|.
- ``Delta(y) = log pi(y) - log ref(y)`` (B,).
- every loss is (B,), one number for each pair, and differentiable in ``log pi``.

A method is a score of each side, (B,), and a link that makes a loss of both scores: see `LOSSES`. ``w`` and ``l`` are the
chosen and the rejected side, ``m = score(w) - score(l)``:

=========  ==============  ==================================================  ======================================
name       score           link                                                paper
=========  ==============  ==================================================  ======================================
``dpo``    Delta           -log sigma(beta m)                                  arXiv:2305.18290, equation 7
``ipo``    Delta / |y|     (m - 1 / (2 beta))^2                                arXiv:2310.12036, equation 17
``hinge``  Delta           max(0, 1 - beta m)                                  SLiC arXiv:2305.10425, RSO arXiv:2309.06657
``kto``    Delta           [sigma(beta (z - w)) + sigma(beta (l - z))] / 2     arXiv:2402.01306, equation 7
``simpo``  log pi / |y|    -log sigma(beta m - gamma)                          arXiv:2405.14734, equation 6
``orpo``   log odds        -beta log sigma(m)                + SFT             arXiv:2403.07691
``cpo``    log pi          -log sigma(beta m)                + SFT             arXiv:2401.08417
``asft``   log odds        -beta [log sigma(w) + log sigma(-l)]  + SFT         Aligned SFT, arXiv:2409.10571
``tpo``    log pi          -log sigma(beta m)                + SFT             arXiv:2405.16681
=========  ==============  ==================================================  ======================================

``log odds = log p - log(1 - p)`` with ``p = exp(log pi / |y|)``; the ``beta`` of ORPO and ASFT is what their papers call
lambda. ``+ SFT`` is ``-log pi(w) / |w|``; every other method takes it too, with a weight of one's choice: it keeps the chosen
side likely, which a margin alone does not.

What is a case of these:

- **M-DPO and M-KTO** (arXiv:2409.02392) sum over turns and leave observations out: with the masks here that is ``dpo`` and
  ``kto``. Their reference is either the first policy throughout, or in each iteration the one before: choose the model.
- **SPIN** is ``dpo`` with a demonstration against a sample of the reference.
- **RSO** has ``hinge`` (its hinge-norm) and ``dpo`` (its sigmoid-norm) on pairs that it draws by rejection.
- **Conservative DPO** and **MCTS-DPO** (arXiv:2405.00451) are ``dpo`` with smoothing: see `preference_loss`.

Departures:

- ``ipo`` divides by lengths, as its authors did for their results (they told TRL, which does so too); the equation does not.
- ``hinge`` measures against the reference, as RSO does; SLiC's own is without one.
- The SFT term is a mean over tokens. CPO and TPO write a sum, their code takes the mean: with sums a long side drowns the rest.
- ``tpo`` has a third, gold answer; a pair has two sides, so the chosen one is the gold. It is then ``cpo`` with another beta.
- ``kto`` takes both sides of a pair, so there are as many desirable as undesirable examples and both weights are 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from agentgym import UserError


@dataclass(frozen=True)
class Side:
    """What is known of one side of B pairs; each field is (B,).

    Attributes:
        logps: log pi, in nats.
        ref_logps: log ref, in nats; 0 for methods without a reference.
        lengths: |y|, in tokens.
    """

    logps: Tensor
    ref_logps: Tensor
    lengths: Tensor

    @property
    def delta(self) -> Tensor:
        """Delta, (B,)."""
        return self.logps - self.ref_logps

    @property
    def mean(self) -> Tensor:
        """Log pi / |y|, (B,)."""
        return self.logps / self.lengths.clamp(min=1)


@dataclass(frozen=True)
class Constants:
    """The numbers in the formulas.

    Attributes:
        beta: Scale of the margin; of ORPO and ASFT the weight of their preference term.
        gamma: SimPO's margin.
        sft: Weight of the SFT term.
        kl: KTO's z, the policy's distance from the reference in nats, at least 0.
    """

    beta: float
    gamma: float = 0.0
    sft: float = 0.0
    kl: Tensor | float = 0.0


Score = Callable[[Side], Tensor]
Link = Callable[[Tensor, Tensor, Constants], Tensor]


@dataclass(frozen=True)
class Loss:
    """A method: `score` (B,) of a side, `link` of both scores, usual constants, whether it knows a reference."""

    score: Score
    link: Link
    beta: float = 0.1
    gamma: float = 0.0
    sft: float = 0.0
    reference: bool = True


def action_logps(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities of the action tokens.

    Args:
        logits: (R, C, V), any floating type.
        targets: (R, C), the id that each of C positions predicts.
        mask: (R, C), True on action tokens.

    Returns:
        (R, C) in float32, exactly 0 off the mask, where no gradient flows either.
    """
    taken = -cross_entropy(logits[mask].float(), targets[mask], reduction="none")
    return taken.new_zeros(mask.shape).masked_scatter(mask, taken)


def preference_loss(name: str, chosen: Side, rejected: Side, constants: Constants, smoothing: Tensor | float = 0.0) -> Tensor:
    """The loss of each pair, (B,).

    Args:
        name: Of a method in `LOSSES`.
        chosen: The better sides.
        rejected: The worse sides.
        constants: The numbers in the formula.
        smoothing: (B,), the probability of each label being wrong: the expected loss is taken, (1 - s) link(w, l) + s link(l, w).
            With `dpo` that is conservative DPO. The SFT term stays with the chosen side.

    Raises:
        UserError: there is no such method.
    """
    method = find_loss(name)
    better, worse = method.score(chosen), method.score(rejected)
    right, wrong = method.link(better, worse, constants), method.link(worse, better, constants)
    return (1 - smoothing) * right + smoothing * wrong - constants.sft * chosen.mean


def find_loss(name: str) -> Loss:
    """The method of this name.

    Raises:
        UserError: there is none.
    """
    if name not in LOSSES:
        raise UserError(f"no preference loss {name!r}: choose from {', '.join(LOSSES)}")
    return LOSSES[name]


def kl_estimate(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """KTO's z, a scalar without a gradient: the mean Delta of R prompts with completions of other prompts, at least 0."""
    return (logps - ref_logps).mean().detach().clamp(min=0)


# ---- scores, (B,) ----------------------------------------------------------------------------------------------------


def _delta(side: Side) -> Tensor:
    return side.delta


def _mean_delta(side: Side) -> Tensor:
    return side.delta / side.lengths.clamp(min=1)


def _sum(side: Side) -> Tensor:
    return side.logps


def _mean(side: Side) -> Tensor:
    return side.mean


def _log_odds(side: Side) -> Tensor:
    log_p = side.mean.clamp(max=-1e-6)  # the odds of what is certain are infinite
    rare, common = log_p.clamp(max=-math.log(2)), log_p.clamp(min=-math.log(2))  # each form of log(1 - p) is exact on its side
    return log_p - torch.where(log_p < -math.log(2), torch.log1p(-rare.exp()), torch.log(-torch.expm1(common)))


# ---- links, (B,) and (B,) to (B,) ------------------------------------------------------------------------------------


def _sigmoid(better: Tensor, worse: Tensor, k: Constants) -> Tensor:
    return -logsigmoid(k.beta * (better - worse) - k.gamma)


def _squared(better: Tensor, worse: Tensor, k: Constants) -> Tensor:
    return (better - worse - 1 / (2 * k.beta)) ** 2


def _hinge(better: Tensor, worse: Tensor, k: Constants) -> Tensor:
    return torch.relu(1 - k.beta * (better - worse))


def _kto(better: Tensor, worse: Tensor, k: Constants) -> Tensor:
    return (torch.sigmoid(k.beta * (k.kl - better)) + torch.sigmoid(k.beta * (worse - k.kl))) / 2


def _odds_ratio(better: Tensor, worse: Tensor, k: Constants) -> Tensor:
    return -k.beta * logsigmoid(better - worse)


def _absolute(better: Tensor, worse: Tensor, k: Constants) -> Tensor:
    return -k.beta * (logsigmoid(better) + logsigmoid(-worse))


LOSSES: dict[str, Loss] = {
    "dpo": Loss(_delta, _sigmoid),
    "ipo": Loss(_mean_delta, _squared),
    "hinge": Loss(_delta, _hinge),
    "kto": Loss(_delta, _kto),
    "simpo": Loss(_mean, _sigmoid, beta=2.0, gamma=1.0, reference=False),
    "orpo": Loss(_log_odds, _odds_ratio, sft=1.0, reference=False),
    "cpo": Loss(_sum, _sigmoid, sft=1.0, reference=False),
    "asft": Loss(_log_odds, _absolute, sft=1.0, reference=False),
    "tpo": Loss(_sum, _sigmoid, beta=0.01, sft=1.0, reference=False),
}
