"""What was measured, one line for each policy in each environment, or for each evaluation that a run has left."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentgym_training.evaluate import bootstrap
from agentgym_trajectories.store import Store


@dataclass(frozen=True)
class Line:
    """One line of a run's table.

    Attributes:
        stage: What was measured: a round, an evaluation, a store.
        policy: Who played; empty where that was not kept.
        episodes: That count.
        success: Share of them that solved their task; None where nobody judged.
        low: Lower end of its 95 % interval, by bootstrap over tasks.
        high: Its upper end.
        reward: Mean summed reward.
        turns: Mean actions of an episode.
        tokens: Sampled tokens in all; None where that was not kept.
        seconds: From the beginning of the first episode to the end of the last; None where that was not kept.
        mistakes: Of the agent, by category, for each episode.
        env: Environment; empty where that was not kept.
    """

    stage: str
    policy: str
    episodes: int
    success: float | None
    low: float | None
    high: float | None
    reward: float | None
    turns: float
    tokens: float | None = None
    seconds: float | None = None
    mistakes: Mapping[str, float] = field(default_factory=dict)
    env: str = ""


def evaluated(stage: str, measured: Mapping[str, Any], env: str = "", policy: str = "") -> Line:
    """The line of an evaluation as `Evaluation.to_dict` wrote it."""
    plain = {name: measured[name] for name in ("episodes", "success", "low", "high", "reward", "turns")}
    return Line(stage, policy, **plain, tokens=measured["tokens"] * measured["episodes"], mistakes=measured["errors"], env=env)


def stored(stage: str, store: Store) -> list[Line]:
    """A line for each environment and policy in a store, in the order of their first episodes."""
    rows: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    columns = "env, version, task, success, reward, turns, tokens, seconds, created"
    for env, version, *row in store.query(f"SELECT {columns} FROM episodes ORDER BY created"):
        rows[env, version].append(tuple(row))
    mistakes: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    counted = """SELECT env, version, category, sum(count) FROM mistakes JOIN episodes e ON e.id = episode
                 GROUP BY 1, 2, 3 ORDER BY 4 DESC"""
    for env, version, category, count in store.query(counted):
        mistakes[env, version][category] = count
    return [_line(stage, *key, found, mistakes[key]) for key, found in rows.items()]


def _line(stage: str, env: str, version: str, rows: list[tuple[Any, ...]], mistakes: Mapping[str, int]) -> Line:
    solved: dict[str, list[float]] = defaultdict(list)
    for task, success, *_ in rows:
        if success is not None:
            solved[task].append(float(success))
    low, high = bootstrap(list(solved.values())) if solved else (None, None)
    rewards, turns, tokens, seconds, ends = ([row[i] for row in rows] for i in range(2, 7))
    return Line(
        stage,
        version,
        len(rows),
        _mean(s for values in solved.values() for s in values),
        low,
        high,
        _mean(r for r in rewards if r is not None),
        _mean(turns) or 0.0,
        sum(tokens),
        max(ends) - min(end - took for end, took in zip(ends, seconds, strict=True)),
        {category: count / len(rows) for category, count in mistakes.items()},
        env,
    )


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
