"""The engine's judgement: how many episodes in flight are worth it, when to give up, how to stop, what a cluster loses."""

import asyncio
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import agentgym
from agentgym import SamplerFailure, UserError, WorkerFailure
from agentgym.sampling import Sample, SampleRequest, Scripted
from agentgym.sampling.named import open_sampler
from agentgym_trajectories import rollout as rollout_module
from agentgym_trajectories.knee import START, Knee
from agentgym_trajectories.rollout import Deadlines, Memory, Progress, Rollout
from agentgym_trajectories.store import Store
from tests.trajectories import crash_env
from tests.trajectories.crash_env import Fragile

ENV = "test/Fragile-v0"
DRIVER = "from tests.trajectories import crash_env; crash_env.register(); from agentgym.cli.main import main; main()"


@pytest.fixture(autouse=True)
def registered() -> None:
    crash_env.register()


class Seats(Scripted):
    """Answers so many at a time, each after `seconds`: a server with a batch of that size."""

    def __init__(self, seats: int, seconds: float) -> None:
        super().__init__(lambda r: r.env.oracle())
        self.free, self.seconds = asyncio.Semaphore(seats), seconds

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        async with self.free:
            await asyncio.sleep(self.seconds)
        return await super().sample(requests)


def test_the_knee_is_where_the_samplers_batch_is_full() -> None:
    async def go() -> Progress:
        return await Rollout(ENV, samples=4).run(Fragile().tasks()[:1000], Seats(64, 0.02), Memory())

    progress = asyncio.run(go())
    assert progress.played == 4000
    assert progress.knee == progress.concurrency == 64, progress.rates
    assert {32, 64, 128} == set(progress.rates)
    assert progress.rates[64] > 1.5 * progress.rates[32]


@pytest.mark.parametrize(("speed", "expected"), [(lambda n: 1000.0, START), (lambda n: 10.0 * min(n, 50), 64)])
def test_a_knee_in_simulated_time(speed: Any, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sizes = [0.0], [0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds
        turns[0] += speed(sizes[-1]) * seconds

    turns = [0.0]
    monkeypatch.setattr("agentgym_trajectories.knee.asyncio.sleep", sleep)
    monkeypatch.setattr("agentgym_trajectories.knee.time.perf_counter", lambda: clock[0])
    knee = Knee()
    asyncio.run(knee.find(lambda: int(turns[0]), sizes.append))
    assert knee.found == sizes[-1] == expected


def test_a_sampler_that_is_gone_stops_the_run_and_keeps_what_was_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_module, "PAUSE", 0.001)

    class Mortal(Scripted):
        calls = 0

        async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
            Mortal.calls += 1
            if Mortal.calls > 400:
                raise SamplerFailure("connection refused")
            return await super().sample(requests)

    sink = Memory()
    with pytest.raises(SamplerFailure, match="connection refused"):
        asyncio.run(Rollout(ENV).run(Fragile().tasks()[:1000], Mortal(lambda r: r.env.oracle()), sink))
    assert 80 <= len(sink.episodes) <= 100
    assert len({e.task.id for e, _, _ in sink.failures}) < 40  # not the whole run


def test_a_sampler_that_comes_back_is_waited_for() -> None:
    class Restarting(Scripted):
        down = (time.monotonic() + 0.2, time.monotonic() + 1.0)

        async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
            await asyncio.sleep(0.01)
            if self.down[0] < time.monotonic() < self.down[1]:
                raise SamplerFailure("connection refused")
            return await super().sample(requests)

    sink = Memory()
    plan = Rollout(ENV, attempts=8, concurrency=8)
    progress = asyncio.run(plan.run(Fragile().tasks()[:300], Restarting(lambda r: r.env.oracle()), sink))
    assert (progress.played, progress.failed) == (300, 0)
    assert progress.attempts_failed > 0


def collecting(out: Path, *options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", DRIVER, "collect", "--env", ENV, "--env-arg", "delay=0.2", "--out", out, "--json", *options]
    environment = os.environ | {"PYTHONPATH": "."}
    return subprocess.Popen(list(map(str, command)), env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def count(out: Path) -> int:
    with Store(out) as store:
        return int(store.query("SELECT count(*) FROM episodes")[0][0])


def wait_for(out: Path, episodes: int, process: "subprocess.Popen[Any]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if count(out) >= episodes:
                return
        except (UserError, sqlite3.Error):
            pass  # not there yet
        time.sleep(0.02)
    raise AssertionError(f"{process.returncode}: {process.communicate()}")


def test_ctrl_c_finishes_what_is_in_flight(tmp_path: Path) -> None:
    process = collecting(tmp_path, "--tasks", 500, "--concurrency", 8)
    wait_for(tmp_path, 8, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    told = json.loads(out.splitlines()[-1])
    assert told["interrupted"]
    assert told["played"] == count(tmp_path) >= 16  # those in flight too
    assert "press Ctrl-C again" in err
    assert "the same command goes on from there" in err
    with Store(tmp_path) as store:
        assert store.query("SELECT count(*) FROM failures") == [(0,)]


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    process = collecting(tmp_path, "--tasks", 500, "--concurrency", 8, "--env-arg", "delay=2")
    wait_for(tmp_path, 8, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith("Interrupted.\n"), err
    assert 8 <= count(tmp_path) < 24


# ---- a cluster -------------------------------------------------------------------------------------------------------------


def on_cluster(test: Any) -> Any:
    """One process runs them all: two clusters at once would see, and kill, each other's workers."""
    return pytest.mark.xdist_group("ray")(pytest.mark.filterwarnings("ignore::FutureWarning")(test))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import ray

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR", include_dashboard=False, object_store_memory=80_000_000)
    yield ray
    ray.shutdown(wait_for_processes=True)  # or their handles may be collected, and complain, before they have ended


def players(env_args: dict[str, Any], policy: str = "oracle", deadlines: Deadlines | None = None) -> Any:
    from agentgym_trajectories.cluster import RayPlayers

    opener = functools.partial(open_sampler, policy)
    return RayPlayers(ENV, env_args, opener, policy, deadlines or Deadlines())


def workers() -> list[int]:
    """Processes that are Ray workers of ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_Worker"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@on_cluster
def test_episodes_on_a_cluster_are_those_of_one_process(cluster: Any) -> None:
    tasks, plan = Fragile().tasks()[:40], Rollout(ENV, {"broken": 0.05}, samples=2, attempts=20, concurrency=16)
    spread, here = Memory(), Memory()
    progress = asyncio.run(plan.play(tasks, players({"broken": 0.05}), spread))
    asyncio.run(plan.run(tasks, agentgym.sampling.oracle(), here))
    assert (progress.played, progress.failed) == (80, 0)
    keys = [sorted((e.task.id, e.sample, *(n.state_key for n in e.nodes)) for e in s.episodes) for s in (spread, here)]
    assert keys[0] == keys[1]
    assert len(spread.failures) == len(here.failures) > 0  # the same seeds break in the same places


@on_cluster
def test_a_killed_worker_is_replaced_and_its_episodes_redone(cluster: Any, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.played > 30 * (len(killed) + 1) and len(killed) < 2 and (found := workers()):
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])

    env_args = {"delay": 0.05}
    with Store(tmp_path, create=True) as store:
        plan = Rollout(ENV, env_args, samples=2, concurrency=16)
        progress = asyncio.run(plan.play(Fragile().tasks()[:100], players(env_args), store, kill))
        assert len(killed) == 2
        assert (progress.played, progress.failed) == (200, 0)
        assert sorted(store.query("SELECT task, sample FROM episodes")) == sorted(
            (f"train-{i}", s) for i in range(100) for s in range(2)
        )
        assert {kind for (kind,) in store.query("SELECT kind FROM failures")} == {WorkerFailure.__name__}
        assert store.query("SELECT min(reward) FROM episodes") == [(1.0,)]


@on_cluster
def test_a_machine_that_joins_gets_workers(cluster: Any) -> None:
    from agentgym_trajectories.cluster import RayPlayers

    size = {"CPU": 1.0}
    seen: list[int] = []

    async def go() -> Progress:
        made: RayPlayers = players({"delay": 0.1})
        made_resources = cluster.cluster_resources

        def report(progress: Progress) -> None:
            seen.append(len(made._load))  # processes would count those of an earlier test, dying slowly
            if progress.played > 10:
                size["CPU"] = 2.0

        cluster.cluster_resources = lambda: size
        try:
            return await Rollout(ENV, {"delay": 0.1}, concurrency=8).play(Fragile().tasks()[:150], made, Memory(), report)
        finally:
            cluster.cluster_resources = made_resources

    progress = asyncio.run(go())
    assert progress.played == 150
    assert max(seen) == 2
    assert seen[seen.index(1) : seen.index(2)]


@on_cluster
def test_workers_that_cannot_start_say_why(cluster: Any) -> None:
    with pytest.raises(UserError, match=r"no Ray worker can be started: .*there is no policy 'nowhere'"):
        asyncio.run(Rollout(ENV).play(Fragile().tasks()[:5], players({}, "nowhere"), Memory()))


@on_cluster
def test_deadlines_hold_on_workers_too(cluster: Any) -> None:
    sink = Memory()
    plan = Rollout(ENV, {"delay": 30.0}, attempts=1, concurrency=4)
    progress = asyncio.run(plan.play(Fragile().tasks()[:3], players({"delay": 30.0}, deadlines=Deadlines(turn=0.3)), sink))
    assert (progress.played, progress.failed) == (0, 3)
    assert {str(f) for _, _, f in sink.failures} == {"no answer of the environment within 0.3 s"}


class Closing(Fragile):
    """Says where it was closed.

    Args:
        place: A directory.
    """

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def close(self) -> None:
        (Path(self.place) / str(id(self))).touch()


@on_cluster
def test_environments_on_workers_are_closed(cluster: Any, tmp_path: Path) -> None:
    from agentgym_trajectories.cluster import RayPlayers

    agentgym.register("test/Closing-v0", Closing)
    arguments = {"place": str(tmp_path)}
    made = RayPlayers("test/Closing-v0", arguments, functools.partial(open_sampler, "oracle"), "oracle", Deadlines())
    progress = asyncio.run(Rollout("test/Closing-v0", arguments, concurrency=4).play(Fragile().tasks()[:20], made, Memory()))
    assert progress.played == 20
    assert list(tmp_path.iterdir())


@on_cluster
def test_what_cannot_be_sent_to_workers_is_said(cluster: Any) -> None:
    from agentgym_trajectories.cluster import RayPlayers

    made = RayPlayers(ENV, {}, functools.partial(open_sampler, threading.Lock()), "oracle", Deadlines())  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"no Ray worker can be started: TypeError"):
        asyncio.run(Rollout(ENV).play(Fragile().tasks()[:5], made, Memory()))
