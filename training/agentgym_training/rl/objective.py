"""The loss of reinforcement learning: pure functions on flat tensors of tokens.

Only the agent's own tokens are here, M of them from many sequences: what is not in a tensor cannot have a gradient. Each token
has a number of the sequence that it is in (`sequence`) and of its episode (`episode`; several sequences where a tree forks or a
chat template rewrites the history). All tensors are (M,), all logarithms natural::

    r = exp(log pi - log old)                 old: the policy before this update's first step
    w = exp(log old - log sampled)            sampled: what the sampler said of its own tokens when it wrote them
    loss = sum over tokens of  c * ( -w' * min(r A, clip(r, 1 - low, 1 + high) A) + kl * KL - entropy * H )

``w'`` is w cut off (`importance`); ``c`` makes a mean of the sum (`shares`) and is known before the first token is scored, so
that the gradients of a batch are the same in however many pieces they are computed.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        ratio: "token" (PPO) or "sequence": the geometric mean over a sequence's tokens (GSPO, arXiv:2507.18071).
        clip_low: How far below 1 a ratio counts.
        clip_high: How far above; more than `clip_low` is DAPO's clip-higher (arXiv:2503.14476), which keeps entropy up.
        mean: Over "tokens" of the batch, over "episodes" of the mean of each (a failure's token then weighs the less the longer
            it rambles: short well-formed failures are unlearnt first), or by a "constant" number of tokens (Dr. GRPO).
        constant: Tokens of an episode, for that constant.
        correction: Of the difference between sampler and trainer: "truncate", "mask" or "none".
        cap: Of w: it is truncated there; or masked there and below 1 / cap.
        kl: Weight of the divergence from a reference; 0 needs none.
        kl_estimator: See `divergence`.
        kl_unbiased: Multiply it by the ratio, which makes k3's gradient the true one (DeepSeek-V3.2, arXiv:2512.02556).
        entropy: Weight of the entropy.
    """

    ratio: Literal["token", "sequence"] = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    mean: Literal["tokens", "episodes", "constant"] = "tokens"
    constant: int = 1024
    correction: Literal["truncate", "mask", "none"] = "truncate"
    cap: float = 2.0
    kl: float = 0.0
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_unbiased: bool = False
    entropy: float = 0.0


def ratios(logps: Tensor, old: Tensor, sequence: Tensor, objective: Objective) -> Tensor:
    """The r of each token; of a "sequence", all tokens have the one of their sequence."""
    log_ratio = logps - old
    if objective.ratio == "sequence":
        count = int(sequence.max()) + 1
        total = log_ratio.new_zeros(count).index_add(0, sequence, log_ratio)
        lengths = log_ratio.new_zeros(count).index_add(0, sequence, torch.ones_like(log_ratio))
        log_ratio = (total / lengths.clamp(min=1))[sequence]
    return log_ratio.exp()


def policy_loss(ratio: Tensor, advantages: Tensor, objective: Objective) -> Tensor:
    """PPO's clipped surrogate (arXiv:1707.06347, equation 7), negated."""
    clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    return -torch.min(ratio * advantages, clipped * advantages)


def importance(old: Tensor, sampled: Tensor, objective: Objective) -> Tensor:
    """The w', without a gradient: w at most `cap` (truncated, Ionides 2008), or 0 outside [1 / cap, cap] (masked)."""
    w = (old - sampled).exp().detach()
    if objective.correction == "none":
        return torch.ones_like(w)
    if objective.correction == "truncate":
        return w.clamp(max=objective.cap)
    return torch.where((w > objective.cap) | (w < 1 / objective.cap), 0.0, w)


def divergence(logps: Tensor, reference: Tensor, estimator: str) -> Tensor:
    """KL from the reference, estimated at each sampled token (Schulman 2020, "Approximating KL divergence").

    With d = log ref - log pi: k1 = -d (unbiased, its gradient is 0 in the mean), k2 = d^2 / 2 (biased, its gradient is the true
    one), k3 = exp(d) - 1 - d (unbiased, never negative; GRPO's).
    """
    d = reference - logps
    if estimator == "k1":
        return -d
    return d**2 / 2 if estimator == "k2" else d.exp() - 1 - d


def shares(mean: str, episode: Tensor, constant: int) -> Tensor:
    """The c of each token of a whole batch: they add up to 1, except for "constant".

    - "tokens": 1 / M. Long episodes weigh more (DAPO).
    - "episodes": 1 / (E |tokens of the episode|), with E episodes. Neither long episodes nor forks weigh more (GRPO).
    - "constant": 1 / (E constant): as tokens, but a batch with short episodes is not scaled up (Dr. GRPO, arXiv:2503.20783).
    """
    found, index, lengths = torch.unique(episode, return_inverse=True, return_counts=True)
    if mean == "tokens":
        return torch.full(episode.shape, 1 / max(len(episode), 1), device=episode.device)
    if mean == "constant":
        return torch.full(episode.shape, 1 / (max(len(found), 1) * constant), device=episode.device)
    share: Tensor = 1 / (len(found) * lengths)
    return share[index]
