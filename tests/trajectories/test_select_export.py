"""Selectors say why; exports are what others can read."""

import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from agentgym import UserError
from agentgym_trajectories.export import export
from agentgym_trajectories.select import SELECTORS, Duplicates, Errors, Length, Reward, apply, parse
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Trajectory
from tests.trajectories.test_store import episode


def trajectories(*rewards: float) -> list[Trajectory]:
    return [t for i, r in enumerate(rewards) for t in episode(task=i, reward=r).trajectories()]


def test_each_drop_has_a_reason_and_order_matters() -> None:
    three = trajectories(1.0, 0.0, 1.0)
    twin = trajectories(1.0)
    verdicts = list(apply([*three, *twin], [Reward(), Duplicates()]))
    assert [(t.episode.task.id, reason) for t, reason in verdicts if reason] == [
        ("train-1", "reward: reward 0 is under 1"),
        ("train-0", "duplicates: the same as episode 0"),
    ]
    assert [t for t, reason in verdicts if not reason] == [three[0], three[2]]
    assert len(verdicts) == 4


def test_length_and_errors() -> None:
    (one,) = trajectories(1.0)
    assert [r for _, r in apply([one], [Errors()])] == ["errors: 1 mistake, the first tool_error"]
    assert [r for _, r in apply([one], [Errors(max=1)])] == [""]
    assert [r for _, r in apply([one], [Length(turns=1)])] == ["length: 2 turns are over 1"]
    assert [r for _, r in apply([one], [Length(tokens=6)])] == ["length: 7 tokens are over 6"]
    assert [r for _, r in apply([one], [Length(tokens=7, turns=2)])] == [""]


def test_specs_are_parsed_and_refused() -> None:
    assert parse("reward:min=0.5", SELECTORS) == Reward(0.5)
    assert parse("length:turns=3,tokens=100", SELECTORS) == parse("length:3,tokens=100", SELECTORS) == Length(3, 100)
    for spec, message in (
        ("rewards", "no selector 'rewards'"),
        ("reward:max=1", "no option 'max': it has min"),
        ("reward:min=x", "option 'min': Input should be a valid number"),
        ("duplicates:a=1", "it has none"),
        ("duplicates:1", "no option '1': it has none"),
    ):
        with pytest.raises(UserError, match=message):
            parse(spec, SELECTORS)


def test_a_selection_is_stored_and_replaced(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        for i, reward in enumerate((1.0, 0.0, 1.0)):
            store.add(episode(task=i, reward=reward))
        store.add_selection("good", apply(store.trajectories(), [Reward()]))
        assert [t.episode.task.id for t in store.trajectories("good")] == ["train-0", "train-2"]
        store.add_selection("good", apply(store.trajectories(), [Reward(min=0.0)]))
        assert len(list(store.trajectories("good"))) == 3
        assert store.query("SELECT DISTINCT name, reason FROM selections") == [("good", "")]


def test_all_formats_hold_the_same_rows(tmp_path: Path) -> None:
    for form in ("jsonl", "parquet", "hf"):
        assert export(trajectories(1.0, 0.0), tmp_path / form, form) == 2
    lines = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    parquet = pq.read_table(tmp_path / "parquet").to_pylist()
    hub = datasets.load_from_disk(str(tmp_path / "hf")).to_list()
    assert parquet == hub
    for line, row in zip(lines, parquet, strict=True):
        assert [pytest.approx(x) for x in line["logprobs"] if x] == [x for x in row["logprobs"] if x]
        assert {k: v for k, v in line.items() if k != "logprobs"} == {k: v for k, v in row.items() if k != "logprobs"}
        assert json.loads(row["tools"])[0]["function"]["name"] == "f"
        asked = row["messages"][1]
        assert asked["reasoning_content"] == "hm"
        assert json.loads(asked["tool_calls"][0]["function"]["arguments"])["a"] == 1.5
        assert row["messages"][2]["tool_call_id"] == asked["tool_calls"][0]["id"]
        assert row["action_mask"] == [False, False, False, True, True, False, True]


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    def breaks() -> object:
        yield trajectories(1.0)[0]
        raise RuntimeError("stop")

    for form in ("jsonl", "parquet", "hf"):
        with pytest.raises(RuntimeError, match="stop"):
            export(breaks(), tmp_path / "x", form)  # type: ignore[arg-type]
        with pytest.raises(UserError, match="nothing to export"):
            export([], tmp_path / "x", form)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="no format 'csv'"):
        export([], tmp_path / "x", "csv")
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match="exists already"):
        export([], tmp_path / "x", "jsonl")
