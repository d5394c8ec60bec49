"""The engine loses nothing, counts nothing twice, and never turns a failure into a reward."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import agentgym
from agentgym import EnvironmentFailure, ErrorCategory, SamplerFailure, StopReason, UserError, assistant, user
from agentgym.sampling import Sample, SampleRequest, Scripted, oracle, replay
from agentgym_trajectories.episode import play
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.rollout import Memory, Progress, Rollout
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode
from tests.trajectories import crash_env
from tests.trajectories.crash_env import Fragile

ENV = "test/Fragile-v0"
DRIVER = """
import sys, asyncio
from tests.trajectories import crash_env
crash_env.register()
from agentgym.cli.main import main
main()
"""


@pytest.fixture(autouse=True)
def registered() -> None:
    crash_env.register()


def run(rollout: Rollout, tasks: int, sampler: object = None, sink: object = None) -> tuple[Memory, Progress]:
    sink = sink or Memory()
    progress = asyncio.run(rollout.run(Fragile().tasks()[:tasks], sampler or oracle(), sink))  # type: ignore[arg-type]
    return sink, progress  # type: ignore[return-value]


def test_every_task_is_played_as_often_as_asked() -> None:
    sink, progress = run(Rollout(ENV, samples=3), 20)
    assert progress == Progress(asked=60, played=60)
    assert {(e.task.id, e.sample) for e in sink.episodes} == {(f"train-{i}", s) for i in range(20) for s in range(3)}
    for episode in sink.episodes:
        (trajectory,) = episode.trajectories()
        assert [n.kind for n in episode.nodes] == ["observation", "action"] * 4
        assert trajectory.success
        assert trajectory.reward == 1.0
        assert trajectory.leaf.end is StopReason.TERMINATED
        assert len({n.state_key for n in trajectory.actions}) == 3  # the answer changes nothing
        assert episode.version == "oracle"


def test_failures_are_retried_and_kept_apart() -> None:
    sink, progress = run(Rollout(ENV, {"broken": 0.2}, attempts=30), 40)
    assert progress.played == 40
    assert progress.failed == 0
    assert progress.attempts_failed == len(sink.failures) > 5
    assert all(isinstance(f, EnvironmentFailure) for _, _, f in sink.failures)
    assert all(t.reward == 1.0 for e in sink.episodes for t in e.trajectories())


@pytest.mark.parametrize("bug", [False, True])
def test_beyond_the_cap_an_episode_is_missing_not_zero(bug: bool, tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        _, progress = run(Rollout(ENV, {"broken": 0.15, "bug": bug}, attempts=1), 40, sink=store)
        assert progress.failed > 0
        assert progress.played + progress.failed == 40
        assert store.query("SELECT count(*), min(reward) FROM episodes") == [(progress.played, 1.0)]
        assert store.query("SELECT count(*) FROM failures WHERE kind = 'EnvironmentFailure'") == [(progress.failed,)]
        _, again = run(Rollout(ENV, {"broken": 0.15, "bug": bug}, attempts=30, seed=1), 40, sink=store)
        assert (again.resumed, again.played) == (progress.played, progress.failed)


def test_a_hopeless_environment_stops_the_run() -> None:
    with pytest.raises(EnvironmentFailure, match="the container died"):
        run(Rollout(ENV, {"broken": 1.0}), 500)


def test_a_sampler_that_dies_is_a_failure_too() -> None:
    class Dying(Scripted):
        calls = 0

        async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
            Dying.calls += 1
            if Dying.calls % 7 == 0:
                raise SamplerFailure("out of memory")
            return await super().sample(requests)

    sink, progress = run(Rollout(ENV, attempts=9), 20, Dying(lambda r: r.env.oracle()))
    assert progress.played == 20
    assert {str(f) for _, _, f in sink.failures} == {"out of memory"}


def test_what_the_caller_did_wrong_stops_at_once() -> None:
    with pytest.raises(UserError, match="nothing is recorded for task 'train-0' after turn 0"):
        run(Rollout(ENV), 1, replay({}))
    with pytest.raises(UserError, match="no environment 'test/Fragil-v0': did you mean"):
        run(Rollout("test/Fragil-v0"), 1)


def test_a_replay_gives_the_same_episode() -> None:
    sink, _ = run(Rollout(ENV), 5)
    turns = {e.task.id: [n.messages[0] for n in e.nodes if n.kind == "action"] for e in sink.episodes}
    again, _ = run(Rollout(ENV), 5, replay(turns))
    for one, other in zip(sink.episodes, again.episodes, strict=True):
        assert [(n.messages, n.reward, n.state_key) for n in one.nodes] == [
            (n.messages, n.reward, n.state_key) for n in other.nodes
        ]


def test_slow_environments_do_not_hold_up_each_other() -> None:
    began = time.perf_counter()
    run(Rollout(ENV, {"delay": 0.5}, concurrency=16), 16)
    assert time.perf_counter() - began < 16 * 3 * 0.5 / 2  # one after the other would take 24 s, together 1.5 s


def test_truncation_is_told_apart_from_an_end() -> None:
    env = Fragile()
    env.max_turns = 2
    episode = asyncio.run(play(Host(env), oracle(), Episode(ENV, env.tasks()[0], 0, "oracle")))
    (trajectory,) = episode.trajectories()
    assert (trajectory.leaf.end, trajectory.success, trajectory.reward) == (StopReason.MAX_TURNS, False, 0.0)


def test_progress_is_reported_at_the_end_at_least() -> None:
    told: list[int] = []
    asyncio.run(Rollout(ENV).run(Fragile().tasks()[:3], oracle(), Memory(), lambda p: told.append(p.played)))
    assert told[-1] == 3


def test_killed_ten_times_and_resumed_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, "collect", "--env", ENV, "--env-arg", "delay=0.002", "--env-arg", "broken=0.01"]
    command += ["--tasks", "1000", "--samples", "2", "--concurrency", "4", "--attempts", "20", "--out", str(tmp_path), "--json"]
    rng = random.Random(5)
    counts = [0]
    for _ in range(10):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": "."}
        )
        _wait_for_episodes(tmp_path, counts[-1] + rng.randrange(1, 40), process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() in (-signal.SIGKILL, 0)
        with Store(tmp_path) as store:
            counts.append(store.query("SELECT count(*) FROM episodes")[0][0])
    assert counts == sorted(counts)
    assert 0 < counts[-1] < 2000
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": "."})
    with Store(tmp_path) as store:
        rows = store.query("SELECT task, sample FROM episodes")
        assert sorted(rows) == sorted((f"train-{i}", s) for i in range(1000) for s in range(2))
        assert store.query("SELECT min(reward) FROM episodes") == [(1.0,)]
        assert all(len(e.nodes) == 8 for e in store.episodes())


def _wait_for_episodes(run: Path, count: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with Store(run) as store:
                if store.query("SELECT count(*) FROM episodes")[0][0] >= count:
                    return
        except UserError:
            pass  # not there yet
        time.sleep(0.02)


class Mortal(Fragile):
    """The third instance dies at its second episode and never recovers."""

    born = 0

    def __init__(self) -> None:
        super().__init__()
        Mortal.born += 1
        self.number, self.resets = Mortal.born, 0

    def reset(self, **options: Any) -> Any:
        self.resets += 1
        if self.number == 3 and self.resets >= 2:
            raise ConnectionError("the container is gone")
        return super().reset(**options)


def test_a_dead_instance_is_replaced() -> None:
    Mortal.born = 0
    agentgym.register("test/Mortal-v0", Mortal)
    sink, progress = run(Rollout("test/Mortal-v0", concurrency=4), 100)
    assert (progress.played, progress.failed, progress.attempts_failed) == (100, 0, 1)
    assert isinstance(sink.failures[0][2].__cause__, ConnectionError)


@pytest.mark.parametrize("broken", ["reward", "state_key", "make", "close"])
def test_whatever_an_environment_breaks_is_its_own_failure(broken: str) -> None:
    class Odd(Fragile):
        def __init__(self) -> None:
            super().__init__()
            if broken == "make":
                raise OSError("no room")

        def score(self, answer: str) -> dict[str, float]:
            return {"counted": float("nan") if broken == "reward" else 1.0}

        def state_key(self) -> str:
            if broken == "state_key":
                raise OSError("no disk")
            return super().state_key()

        def close(self) -> None:
            if broken == "close":
                raise OSError("no end")

    agentgym.register("test/Odd-v0", Odd)
    if broken == "close":
        assert run(Rollout("test/Odd-v0"), 5)[1].played == 5
        return
    sink, progress = run(Rollout("test/Odd-v0", attempts=2), 5)
    assert (progress.failed, progress.attempts_failed, sink.episodes) == (5, 10, [])
    assert all(isinstance(f, EnvironmentFailure) for _, _, f in sink.failures)


def test_a_resumed_run_is_not_hopeless_because_its_rest_fails() -> None:
    sink, _ = run(Rollout(ENV), 3)
    agentgym.register(ENV, Fragile, broken=1.0)
    progress = asyncio.run(Rollout(ENV, attempts=1).run(Fragile().tasks()[:30], oracle(), sink))
    assert (progress.resumed, progress.failed) == (3, 27)
    asyncio.run(Rollout(ENV, attempts=1).run(Fragile().tasks()[:30], oracle(), sink))
    assert {attempt for _, attempt, _ in sink.failures} == {0, 1}  # another seed each time


def test_a_store_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        other = sqlite3.connect(store.path, isolation_level=None)
        store._db.execute("PRAGMA busy_timeout = 50")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="cannot be written"):
            run(Rollout(ENV, {"delay": 0.02}), 40, sink=store)
        other.execute("ROLLBACK")
        other.close()
        store.flush()
        kept = store.query("SELECT count(*) FROM episodes")[0][0]
        _, progress = run(Rollout(ENV, {"delay": 0.02}), 40, sink=store)
        assert progress.resumed == kept
        assert store.query("SELECT count(*) FROM episodes") == [(40,)]


def test_a_history_that_was_rewritten_is_still_one_trajectory() -> None:
    episode = Episode(ENV, Fragile().tasks()[0], 0, "v")
    root = episode.add(-1, "observation", (user("a"),), token_ids=[1])
    first = episode.add(
        root.id, "action", (assistant("b"),), token_ids=[2], logprobs=[-1.0], reward=0.5, errors=(ErrorCategory.TOOL_ERROR,)
    )
    again = episode.add(-1, "observation", (user("a"), assistant("b"), user("c")), token_ids=[9, 8], continues=first.id)
    episode.add(
        again.id, "action", (assistant("d"),), token_ids=[7], logprobs=[-2.0], reward=0.5, success=True, end=StopReason.TERMINATED
    )
    (trajectory,) = episode.trajectories()
    assert (trajectory.reward, trajectory.success, len(trajectory.errors), len(trajectory.actions)) == (1.0, True, 1, 2)
    assert (trajectory.token_ids, trajectory.action_mask, trajectory.sampled_tokens) == ([9, 8, 7], [False, False, True], 2)
    assert [m.content for m in trajectory.messages] == ["a", "b", "c", "d"]
