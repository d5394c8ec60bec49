"""Measurements against numbers worked out by hand."""

import numpy as np
import pytest

from agentgym import ErrorCategory, Failure
from agentgym_training.evaluate import bootstrap, evaluate
from tests.trajectories.test_store import episode


def test_an_evaluation_counts_what_happened() -> None:
    measured = evaluate([episode(task=i, reward=float(i < 3)) for i in range(4)], failed=2)
    assert (measured.success, measured.episodes, measured.failed) == (0.75, 4, 2)
    assert measured.low <= 0.75 <= measured.high
    assert (measured.turns, measured.tokens, measured.reward) == (2.0, 3.0, 0.75)
    assert measured.errors == {str(ErrorCategory.TOOL_ERROR): 1.0}
    assert measured.stops == {"terminated": 4}
    assert measured.parts == {"solved": 0.75}
    assert measured.by_difficulty == {"easy": 0.75}
    assert measured.to_dict()["success"] == 0.75


def test_of_a_tree_the_best_path_counts() -> None:
    tree = episode(reward=0.0)
    tree.add(2, "action", tree.nodes[1].messages, reward=1.0, success=True)
    assert evaluate([tree]).success == 1.0


def test_nothing_measured_is_not_zero() -> None:
    with pytest.raises(Failure, match="all 3 episodes failed"):
        evaluate([], failed=3)


def test_all_or_none_solved_is_still_uncertain() -> None:
    assert bootstrap([[1.0]] * 5) == (pytest.approx(0.5655, abs=1e-3), 1.0)
    assert bootstrap([[0.0]] * 200) == (0.0, pytest.approx(0.0188, abs=1e-3))


def test_the_interval_is_over_tasks() -> None:
    """Ten attempts at each of 20 tasks that are always or never solved tell no more than 20 coin throws do."""
    tasks = [[float(i % 2)] * 10 for i in range(20)]
    low, high = bootstrap(tasks)
    single = bootstrap([[float(i % 2)] for i in range(20)])
    assert (low, high) == pytest.approx(single, abs=0.02)
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 20) ** 0.5, abs=0.06)
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        low, high = bootstrap([[float(rng.random() < 0.8)] for _ in range(100)])
        covered += low <= 0.8 <= high
    assert covered >= 50
