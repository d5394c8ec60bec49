"""The corpus of the benchmark is what it says, and both benchmarks of selection run."""

import json
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agentgym import make
from agentgym_trajectories import Store
from agentgym_trajectories.select import Errors, Reward, apply
from tests.benchmarks.corrupted import ENV, KINDS, TINY, carry_out, corpus
from tests.benchmarks.selectors import SORTS, measure, planted


def test_what_is_called_corrupted_fails_and_claims_success(tmp_path: Path) -> None:
    truth = corpus(tmp_path, replace(TINY, corpus=100), seed=1)
    assert corpus(tmp_path, replace(TINY, corpus=100), seed=1) == truth
    kinds = Counter(truth.values())
    assert set(kinds) == {"", *KINDS}
    assert 0.2 < 1 - kinds[""] / len(truth) < 0.4
    with closing(make(ENV)) as made, Store(tmp_path / "corpus") as store:
        env = made.unwrapped
        for t in store.trajectories():
            env.reset(options={"task": t.episode.task})
            for node in t.actions:
                _, _, _, _, info = env.step(node.messages[0])
            right = not truth[t.episode.task.id, t.episode.sample]
            assert info["success"] == right
            assert (t.reward, t.success) == (1.0, True)  # what is claimed
        hidden = [reason for _, reason in apply(store.trajectories(), [Reward()])]
        assert not any(hidden)
        seen = [not truth[t.episode.task.id, t.episode.sample] for t, why in apply(store.trajectories(), [Errors()]) if why]
        assert seen
        assert not any(seen)


def test_planted_cases_are_found_by_what_can_see_them() -> None:
    items = planted(30, seed=0)
    assert Counter(sort for _, sort in items) == {"": 30} | dict.fromkeys(SORTS, 3)
    perfect = {"reward": "failed", "duplicates": "duplicate"}
    for spec, sort in perfect.items():
        found = measure(items, spec)
        assert found[sort] == 1.0
        assert found["precision"] == 1.0
    assert measure(items, "near:similarity=0.85")["near"] == 1.0


def test_the_benchmark_runs(tmp_path: Path) -> None:
    found = carry_out(tmp_path, TINY, 0, ["clear", "tl-training"])
    assert list(found["variants"]) == ["everything", "clear", "tl-training"]
    assert found["variants"]["clear"]["scored_tokens"] > 0
    assert json.loads(json.dumps(found)) == found
