"""One file, many writers, no episode twice."""

import multiprocessing
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentgym import EnvironmentFailure, ErrorCategory, Message, StopReason, Task, UserError, assistant, call, user
from agentgym_trajectories.store import FILE, SCHEMA_VERSION, Store
from agentgym_trajectories.tree import Episode


def _open_when(path: Path, barrier: Any) -> None:
    barrier.wait()
    Store(path, create=True).close()


def test_many_may_open_a_new_run_at_the_same_moment(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    for turn in range(5):
        processes = [context.Process(target=_open_when, args=(tmp_path / str(turn), barrier)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [p.exitcode for p in processes] == [0] * 4


def episode(task: int = 0, sample: int = 0, version: str = "v1", reward: float = 1.0, text: str = "ünï ☃ \u2028") -> Episode:
    made = Episode(
        "test/X-v0", Task("Do it.", {"n": task}, f"train-{task}", difficulty="easy"), sample, version, {"b": 1, "a": [2]}
    )
    made.tools = (
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}}},
    )
    made.vocabulary, made.nodes, made.drift, made.seconds = "abc", [], 1, 0.25
    root = made.add(-1, "observation", (user(text),), token_ids=[1, 2, 3], state_key="k0")
    act = made.add(
        root.id,
        "action",
        (assistant("x", call("f", a=1.5, b=None, c=[{"d": text}]), thinking="hm"),),
        token_ids=[4, 5],
        logprobs=[-0.1234567890123, -2.5e-8],
        reward=0.0,
        errors=(ErrorCategory.TOOL_ERROR,),
        version=version,
    )
    seen = made.add(act.id, "observation", (Message("tool", "Error: no", (), "call00000", "f"),), token_ids=[6])
    made.add(
        seen.id,
        "action",
        (assistant("done"),),
        token_ids=[7],
        logprobs=[-1.0],
        reward=reward,
        rewards={"solved": reward},
        end=StopReason.TERMINATED,
        success=reward >= 1,
        version=version,
        cut=True,
    )
    return made


def test_what_is_written_is_read_again_exactly(tmp_path: Path) -> None:
    written = episode()
    with Store(tmp_path, create=True) as store:
        store.add(written)
        (read,) = store.episodes()
        assert read.id == 1
        read.id = 0
        assert read == written
        assert repr(read.tools) == repr(written.tools)  # the order of keys too: templates write it into the prompt
        (trajectory,) = store.trajectories()
        assert trajectory.token_ids == [1, 2, 3, 4, 5, 6, 7]
        assert trajectory.action_mask == [False] * 3 + [True] * 2 + [False, True]
        assert trajectory.sampled_tokens == 3
        assert trajectory.success
    with sqlite3.connect(tmp_path / FILE) as plain:  # anyone's SQLite can look inside
        query = "SELECT json_extract(n.value, '$.messages[0].content') FROM episodes, json_each(nodes) n"
        assert [r[0] for r in plain.execute(query)][-1] == "done"
    plain.close()


def test_the_same_episode_is_kept_once(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        for reward in (1.0, 0.0):
            store.add(episode(reward=reward))
        store.add(episode(sample=1))
        store.add(episode(version="v2"))
        assert store.query("SELECT reward, sample, version FROM episodes ORDER BY id") == [
            (1.0, 0, "v1"),
            (1.0, 1, "v1"),
            (1.0, 0, "v2"),
        ]
        assert store.finished("test/X-v0", {"a": [2], "b": 1}, "v1") == {("train-0", 0), ("train-0", 1)}
        assert store.finished("test/X-v0", {}, "v1") == set()


def test_failures_stand_apart(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.add_failure(episode(), 2, EnvironmentFailure("gone"))
        assert store.query("SELECT attempt, kind, message FROM failures") == [(2, "EnvironmentFailure", "gone")]
        assert store.query("SELECT count(*) FROM episodes") == [(0,)]


def _write(folder: Path, worker: int) -> None:
    with Store(folder, create=True) as store:
        for i in range(200):
            store.add(episode(task=i, sample=i % (worker + 1)))


def test_many_writers_share_a_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(tmp_path, w)) for w in range(3)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
        assert w.exitcode == 0
    with Store(tmp_path) as store:
        keys = {(f"train-{i}", i % (w + 1)) for w in range(3) for i in range(200)}
        assert set(store.query("SELECT task, sample FROM episodes")) == keys
        assert store.query("SELECT count(*) FROM toolsets") == [(1,)]


def test_wrong_files_get_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="agentgym collect"):
        Store(tmp_path / "nothing")
    (tmp_path / "bad.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(UserError, match="is no store"):
        Store(tmp_path / "bad.db")
    with Store(tmp_path / "new.db", create=True) as store:
        store._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UserError, match="newer agentgym"):
        Store(tmp_path / "new.db")
    with Store(tmp_path / "ok.db", create=True) as store, pytest.raises(UserError, match="no selection 'x'"):
        list(store.trajectories("x"))


def _fails(run: Path, during: Callable[[Store], object] = lambda store: None) -> None:
    """A command that ends with an error after `during`."""
    with Store(run, create=True) as store:
        store.hold_settings("test/X-v0", {}, "v1", {"seed": 1})
        during(store)
        raise UserError("no key")


def test_a_new_store_that_an_error_leaves_empty_goes_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no key"):
        _fails(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    for during in (lambda store: store.add(episode()), lambda store: None):  # the second time it is not new any more
        with pytest.raises(UserError, match="no key"):
            _fails(tmp_path / "played", during)
    with Store(tmp_path / "played") as store:
        assert store.query("SELECT count(*) FROM episodes") == [(1,)]
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/notes.txt").touch()
    with pytest.raises(UserError, match="no key"):
        _fails(tmp_path / "beside")
    assert [p.name for p in (tmp_path / "beside").iterdir()] == ["notes.txt"]


def test_a_store_that_somebody_else_has_open_stays(tmp_path: Path) -> None:
    others: list[Store] = []
    with pytest.raises(UserError, match="no key"):
        _fails(tmp_path, lambda store: others.append(Store(tmp_path)))
    with others[0] as other:
        other.add(episode())
    with Store(tmp_path) as store:
        assert store.query("SELECT count(*) FROM episodes") == [(1,)]


def test_why_most_attempts_failed(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        key = ("test/X-v0", {"b": 1, "a": [2]}, "v1")
        assert store.commonest_failure(*key) == ""
        for attempt, why in enumerate(("gone", "broken", "broken")):
            store.add_failure(episode(), attempt, EnvironmentFailure(why))
        assert store.commonest_failure(*key) == "EnvironmentFailure: broken"


def test_a_search_tree_counts_its_best_path(tmp_path: Path) -> None:
    tree = episode(reward=0.0)
    tree.add(2, "action", (assistant("better"),), token_ids=[8, 9], reward=1.0, success=True, end=StopReason.TERMINATED)
    with Store(tmp_path, create=True) as store:
        store.add(tree)
        assert store.query("SELECT reward, success, tokens FROM episodes") == [(1.0, 1, 5)]
        assert [t.reward for t in store.trajectories()] == [0.0, 1.0]
