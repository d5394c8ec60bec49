"""Alarms: what usually goes wrong in reinforcement learning, seen in the log's lines while there is time to stop."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """When to raise an alarm.

    Attributes:
        entropy: Share of the entropy at the beginning, below which it has collapsed: the policy tries nothing new any more.
        ratio: Greatest ratio of new to old probabilities; beyond, an update went too far.
        drift: Mean difference between sampler and trainer, in nats a token; beyond, they have different weights or arithmetic.
        rise: Of the drift since the beginning, as a factor, once it is a tenth of `drift`.
        valid: Share of the best rate of valid actions so far, below which the policy forgets how to act.
        beginning: Updates whose mean is the beginning.
    """

    entropy: float = 0.1
    ratio: float = 10.0
    drift: float = 0.1
    rise: float = 5.0
    valid: float = 0.8
    beginning: int = 5


def alarms(lines: Sequence[Line], limits: Limits | None = None) -> list[str]:
    """What is wrong after the last update, one sentence each; nothing while all is well.

    Args:
        lines: Of the log, from the first update on.
        limits: When to raise an alarm.
    """
    limits = limits or Limits()
    return [text for check in (_entropy, _ratio, _drift, _valid, _gradient, _idle) if (text := check(lines, limits))]


def _entropy(lines: Sequence[Line], limits: Limits) -> str:
    now, first = _last(lines, "entropy"), _first(lines, "entropy", limits)
    if not now < limits.entropy * first:
        return ""
    return f"entropy collapsed: {now:.3g} nats, {first:.3g} at the beginning; lower the learning rate, or give --entropy"


def _ratio(lines: Sequence[Line], limits: Limits) -> str:
    now = _last(lines, "ratio_max")
    return f"a ratio of {now:.3g} to the old policy: lower --lr, --steps or --replay" if now > limits.ratio else ""


def _drift(lines: Sequence[Line], limits: Limits) -> str:
    now, first = _last(lines, "drift"), _first(lines, "drift", limits)
    if now > limits.drift or (now > limits.drift / 10 and now > limits.rise * first):
        apart = f"sampler and trainer are {now:.3g} nats a token apart, {first:.3g} at the beginning"
        return f"{apart}: lower --staleness, --replay or --lr"
    return ""


def _valid(lines: Sequence[Line], limits: Limits) -> str:
    known = [line["valid"] for line in lines]
    best = max((float(np.mean(known[i : i + limits.beginning])) for i in range(len(known) - limits.beginning + 1)), default=0.0)
    now = float(np.mean(known[-limits.beginning :]))
    return (
        f"only {now:.1%} of actions are valid, {best:.1%} were: the policy forgets its format"
        if now < limits.valid * best
        else ""
    )


def _gradient(lines: Sequence[Line], limits: Limits) -> str:
    norm = lines[-1].get("grad_norm", 0.0)
    return "" if math.isfinite(norm) else "a gradient was not finite: that step was left out; lower the learning rate"


def _idle(lines: Sequence[Line], limits: Limits) -> str:
    idle = len(lines) >= limits.beginning and not any(line.get("grad_norm") for line in lines[-limits.beginning :])
    text = "all attempts at a task earn the same: choose easier or harder tasks, or more --samples"
    return f"nothing was learnt in {limits.beginning} updates, {text}" if idle else ""


def _last(lines: Sequence[Line], name: str) -> float:
    return float(lines[-1].get(name, math.nan))  # an update without anything to learn measures nothing; no comparison holds


def _first(lines: Sequence[Line], name: str, limits: Limits) -> float:
    known: list[float] = [line[name] for line in lines if name in line][: limits.beginning]
    return float(np.mean(known)) if known else math.nan
