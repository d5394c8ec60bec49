"""How good a policy is: success with a confidence interval, and what went wrong."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agentgym import Failure
from agentgym_trajectories import Episode, Trajectory

RESAMPLES = 5_000
DRAWS = 2**21  # at once


@dataclass(frozen=True)
class Evaluation:
    """What was measured over the episodes of an evaluation.

    Attributes:
        success: Share of episodes that solved their task.
        low: Lower end of the 95 % confidence interval of `success`, by bootstrap over tasks.
        high: Its upper end.
        episodes: Episodes that count.
        failed: Episodes that environment or sampler voided; they count nowhere.
        reward: Mean summed reward.
        parts: The mean of each of its parts, over the episodes that have it; also those without a weight, which only report.
        turns: Mean actions of an episode.
        tokens: Mean sampled tokens of an episode.
        errors: The agent's mistakes by category, for each episode.
        stops: Episodes by the reason of their end.
        by_difficulty: Success by difficulty.
    """

    success: float
    low: float
    high: float
    episodes: int
    failed: int
    reward: float
    parts: dict[str, float]
    turns: float
    tokens: float
    errors: dict[str, float]
    stops: dict[str, int]
    by_difficulty: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def evaluate(episodes: Iterable[Episode], failed: int = 0, seed: int = 0) -> Evaluation:
    """Measure finished episodes; of an episode with several trajectories, the one with the highest reward counts.

    Raises:
        Failure: there are none, since all failed.
        UserError: nobody said what an episode was worth.
    """
    best: list[Trajectory] = [max(e.trajectories(), key=lambda t: t.reward) for e in episodes]
    if not best:
        raise Failure(f"there is nothing to measure: all {failed} episodes failed")
    for t in best:
        t.need_verdict()
    solved: dict[str, list[float]] = defaultdict(list)
    levels: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, list[float]] = defaultdict(list)
    for t in best:
        for part in {part for node in t.actions for part in node.rewards}:
            parts[part].append(sum(node.rewards.get(part, 0.0) for node in t.actions))
        solved[t.episode.task.id].append(float(t.success))
        levels[t.episode.task.difficulty].append(float(t.success))
    count = len(best)
    low, high = bootstrap(list(solved.values()), seed)
    return Evaluation(
        success=sum(t.success for t in best) / count,
        low=low,
        high=high,
        episodes=len(best),
        failed=failed,
        reward=sum(t.reward for t in best) / count,
        parts={k: float(np.mean(v)) for k, v in sorted(parts.items())},
        turns=sum(len(t.actions) for t in best) / count,
        tokens=sum(t.sampled_tokens for t in best) / count,
        errors={k: n / count for k, n in sorted(Counter(str(e) for t in best for e in t.errors).items())},
        stops=dict(Counter(str(t.leaf.end or "") for t in best)),
        by_difficulty={k: float(np.mean(v)) for k, v in sorted(levels.items())},
    )


def bootstrap(groups: list[list[float]], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over all values, drawing whole groups (tasks) with replacement.

    Tasks, not episodes, are drawn: attempts at one task are not independent (Efron & Tibshirani 1993, chapter 8). Where all
    values are 0 or all are 1 there is nothing to draw from; Wilson's interval (1927) for as many tasks takes its place.

    Args:
        groups: The values of each task, in [0, 1].
        seed: Of the draws.
    """
    sums, sizes = np.array([sum(g) for g in groups]), np.array([len(g) for g in groups])
    mean = float(sums.sum() / sizes.sum())
    if mean in (0.0, 1.0):
        width = 1.96**2 / (len(groups) + 1.96**2)
        return (0.0, width) if mean == 0 else (1 - width, 1.0)
    rng, rows = np.random.default_rng(seed), max(1, DRAWS // len(groups))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows):  # some at a time: all draws over many tasks need gigabytes
        part = means[start : start + rows]
        drawn = rng.integers(len(groups), size=(len(part), len(groups)))
        part[:] = sums[drawn].sum(1) / sizes[drawn].sum(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))
