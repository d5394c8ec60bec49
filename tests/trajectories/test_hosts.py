"""Where environments live: threads, processes and event loops that hold up nobody, and deadlines that end what hangs."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agentgym
from agentgym import AsyncEnvironment, DeadlineFailure, EnvironmentFailure, Message, SamplerFailure, Task, Tasks, UserError, tool
from agentgym.checks import check_env
from agentgym.sampling import Scripted, oracle
from agentgym_trajectories.hosts import Host, ProcessHost, ThreadHost
from agentgym_trajectories.process import ProcessEnvironment
from agentgym_trajectories.rollout import Deadlines, Memory, Progress, Rollout
from agentgym_trajectories.store import Store
from tests.trajectories import crash_env
from tests.trajectories.crash_env import Fragile, Waiting

TASKS = Fragile().tasks()


def play(
    env: Any, tasks: int, *, sampler: Any = None, sink: Any = None, args: dict[str, Any] | None = None, **plan: Any
) -> tuple[Any, Progress]:
    agentgym.register("test/Odd-v0", env)
    sink = sink or Memory()
    rollout = Rollout("test/Odd-v0", args or {}, **plan)
    return sink, asyncio.run(rollout.run(TASKS[:tasks], sampler or oracle(), sink))


class Threaded(Fragile):
    """Notes in which threads it was used."""

    seen: list[tuple[int, int]] = []  # noqa: RUF012  (shared on purpose)

    def __init__(self) -> None:
        super().__init__()
        self.blocking = True
        self._note()

    def _note(self) -> None:
        Threaded.seen.append((id(self), threading.get_ident()))

    def begin(self, task: Task) -> str:
        self._note()
        return super().begin(task)

    def shape(self) -> dict[str, float]:
        time.sleep(0.001)
        self._note()
        return {}

    def state_key(self) -> str:
        self._note()
        return super().state_key()

    def close(self) -> None:
        self._note()


@pytest.fixture
def threads_left() -> Callable[[], list[threading.Thread]]:
    """Asks for the threads of this test's environments that do not end within twenty seconds."""
    before = set(threading.enumerate())  # those that other tests left are not ours

    def left() -> list[threading.Thread]:
        began = time.monotonic()
        while (ours := [t for t in threading.enumerate() if t.name == "environment" and t not in before]) and (
            time.monotonic() - began < 20
        ):
            time.sleep(0.01)
        return ours

    return left


def test_a_blocking_environment_keeps_its_thread(threads_left: Callable[[], list[threading.Thread]]) -> None:
    Threaded.seen.clear()
    _, progress = play(Threaded, 60, concurrency=8)
    assert progress.played == 60
    threads: dict[int, set[int]] = {}
    for instance, thread in Threaded.seen:
        threads.setdefault(instance, set()).add(thread)
    assert len(threads) >= 8
    assert all(len(used) == 1 for used in threads.values())  # made, used and closed in one
    assert not threads_left()


class Heavy(Fragile):
    """Says in which process it runs; may crash it."""

    heavy = True

    def __init__(self, crash: float = 0.0, loop: bool = False) -> None:
        super().__init__()
        self.crash, self.loop = crash, loop

    def begin(self, task: Task) -> str:
        print("this must not reach stdout")
        return super().begin(task) + f" {os.getpid()}"

    def shape(self) -> dict[str, float]:
        if self.np_random.random() < self.crash:
            os.kill(os.getpid(), signal.SIGSEGV)
        while self.loop and self.task.id == "train-1":
            pass
        return {}


def test_a_heavy_environment_has_a_process_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    sink, progress = play(Heavy, 12, concurrency=3)
    assert progress.played == 12
    pids = {int(e.nodes[0].messages[-1].content.split()[-1]) for e in sink.episodes}
    assert os.getpid() not in pids
    assert len(pids) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    plain, _ = play(Fragile, 12)
    keys = [{e.task.id: [n.state_key for n in e.nodes] for e in s.episodes} for s in (sink, plain)]
    assert keys[0] == keys[1]
    assert "stdout" not in capfd.readouterr().out


def test_a_crashed_process_is_a_failure_of_the_environment() -> None:
    sink, progress = play(Heavy, 20, args={"crash": 0.08}, attempts=20, concurrency=4)
    assert progress.played == 20
    assert 0 < progress.attempts_failed == len(sink.failures)
    assert {str(f) for _, _, f in sink.failures} == {"its process is gone: it crashed, or was killed"}
    assert all(t.reward == 1.0 for e in sink.episodes for t in e.trajectories())


def test_a_class_that_no_module_knows_travels_too() -> None:
    class Local(Heavy):
        def score(self, answer: str) -> dict[str, float]:
            raise KeyError("odd")

    sink, progress = play(Local, 2, attempts=1)
    assert progress.failed == 2
    assert {str(f) for _, _, f in sink.failures} == {"KeyError: 'odd'"}
    agentgym.register("test/Odd-v0", Heavy)
    with pytest.raises(UserError, match="does not take these arguments"):
        asyncio.run(ProcessHost.open(lambda: ProcessEnvironment("test/Odd-v0", {"depth": 3})))


def test_attributes_and_methods_at_the_far_end() -> None:
    agentgym.register("test/Odd-v0", Heavy)
    env = ProcessEnvironment("test/Odd-v0", {})
    env.start()
    try:
        env.ask(Heavy.reset)
        assert env.turn == 0
        assert env.oracle().tool_calls[0].name == "count"
        with pytest.raises(EnvironmentFailure, match="AttributeError"):
            _ = env.nothing
    finally:
        env.close()
    with pytest.raises(EnvironmentFailure, match="its process is gone"):
        _ = env.turn


def test_waiting_costs_no_thread() -> None:
    before = threading.active_count()
    began = time.perf_counter()
    sink, progress = play(Waiting, 400, args={"delay": 0.05}, concurrency=400)
    assert progress.played == 400
    assert threading.active_count() == before
    assert time.perf_counter() - began < 400 * 3 * 0.05 / 3
    assert all(t.reward == 1.0 and len(t.actions) == 4 for e in sink.episodes for t in e.trajectories())


def test_an_asynchronous_environment_works_without_a_loop_too() -> None:
    crash_env.register()
    check_env("test/Waiting-v0")
    env = agentgym.make("test/Waiting-v0", broken=True)
    env.reset(options={"task": TASKS[0]})
    result = env.step(agentgym.assistant("", agentgym.call("count"), agentgym.call("count", far=1)))
    assert result[4]["errors"] == (agentgym.ErrorCategory.TOOL_ERROR, agentgym.ErrorCategory.EXTRA_ARGUMENT)
    env.close()
    fresh = agentgym.make("test/Waiting-v0")
    fresh.reset(options={"task": TASKS[0]})
    snapshot = fresh.snapshot()
    other = agentgym.make("test/Waiting-v0")
    other.restore(snapshot)
    assert other.state_key() == fresh.state_key()
    fresh.close()
    other.close()


class Hanging(Fragile):
    """Task train-1 hangs, in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.blocking = True

    def shape(self) -> dict[str, float]:
        if self.task.id == "train-1":
            time.sleep(3)
        return {}


class HangingAsync(Waiting):
    """Task train-1 hangs on the loop."""

    async def score(self, answer: str) -> dict[str, float]:
        if self.task.id == "train-1":
            await asyncio.sleep(60)
        return {"counted": 1.0}


@pytest.mark.parametrize(("env", "args"), [(Hanging, {}), (HangingAsync, {}), (Heavy, {"loop": True})])
def test_what_hangs_is_ended_and_the_rest_goes_on(env: Any, args: dict[str, Any]) -> None:
    began = time.perf_counter()
    sink, progress = play(env, 6, args=args, attempts=2, concurrency=2, deadlines=Deadlines(turn=2 if args else 0.5))
    assert (progress.played, progress.failed, progress.attempts_failed) == (5, 1, 2)
    assert {str(f) for _, _, f in sink.failures} == {f"no answer of the environment within {2 if args else 0.5:g} s"}
    assert all(isinstance(f, EnvironmentFailure) for _, _, f in sink.failures)
    assert time.perf_counter() - began < 30


def test_a_sampler_that_does_not_answer() -> None:
    class Silent(Scripted):
        async def sample(self, requests: Any) -> Any:
            if requests[0].env.task.id == "train-1":
                await asyncio.sleep(60)
            return await super().sample(requests)

    made: list[Fragile] = []

    class Counted(Fragile):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    sampler = Silent(lambda r: r.env.oracle())
    sink, progress = play(Counted, 6, sampler=sampler, attempts=2, concurrency=2, deadlines=Deadlines(turn=0.3))
    assert (progress.played, progress.failed) == (5, 1)
    assert {type(f) for _, _, f in sink.failures} == {SamplerFailure}
    assert len(made) == 2  # a sampler's failure breaks no environment


def test_a_late_episode_leaves_a_partial_group(tmp_path: Path) -> None:
    class Late(Waiting):
        async def score(self, answer: str) -> dict[str, float]:
            if self.task.id == "train-1" and self.np_random.random() < 0.5:
                await asyncio.sleep(60)
            return {"counted": 1.0}

    with Store(tmp_path, create=True) as store:
        _, progress = play(Late, 4, sink=store, samples=8, deadlines=Deadlines(episode=0.5))
        missing = store.missing("test/Odd-v0", {}, "oracle")
        assert set(missing) == {"train-1"}
        assert 0 < len(missing["train-1"]) == progress.failed == progress.attempts_failed < 8  # not tried again
        assert progress.played == 32 - progress.failed
        assert store.query("SELECT DISTINCT kind FROM failures") == [(DeadlineFailure.__name__,)]
        assert store.query("SELECT min(reward) FROM episodes") == [(1.0,)]
        _, again = play(Waiting, 4, sink=store, samples=8)
        assert again.played == progress.failed
        assert store.missing("test/Odd-v0", {}, "oracle") == {}


def test_a_thread_whose_environment_cannot_be_made_ends(threads_left: Callable[[], list[threading.Thread]]) -> None:
    async def go() -> None:
        with pytest.raises(ZeroDivisionError):
            await ThreadHost.open(lambda: 1 // 0)

    asyncio.run(go())
    assert not threads_left()


def test_every_host_says_that_a_bug_is_the_environments_failure() -> None:
    def bug(env: Any) -> None:
        raise StopIteration

    async def go() -> None:
        crash_env.register()
        agentgym.register("test/Odd-v0", Heavy)
        hosts = [Host(Fragile()), await ThreadHost.open(Fragile)]
        hosts.append(await ProcessHost.open(lambda: ProcessEnvironment("test/Odd-v0", {})))
        for host in hosts:
            with pytest.raises(EnvironmentFailure, match="StopIteration"):
                await host.run(bug)
            await host.reset(0, TASKS[0])
            await host.close()

    asyncio.run(go())


MANY = """
import asyncio, sys
from tests.trajectories import crash_env
from agentgym.sampling import oracle
from agentgym_trajectories.rollout import Memory, Rollout
crash_env.register()
tasks = crash_env.Waiting().tasks()[:500]
sink = Memory()
plan = Rollout("test/" + sys.argv[1], {"delay": 2.0}, samples=20, concurrency=10_000)
progress = asyncio.run(plan.run(tasks, oracle(), sink))
assert progress.played == 10_000, progress
with open("/proc/self/status") as status:  # of this program alone: `ru_maxrss` begins with that of the process that started it
    print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")), "MiB")
"""


@pytest.mark.parametrize("env", ["Waiting-v0", "Fragile-v0"])
def test_ten_thousand_waiting_episodes_in_one_process(env: str) -> None:
    """Asynchronous ones without threads, blocking ones with ten thousand."""
    if env == "Fragile-v0" and resource.getrlimit(resource.RLIMIT_NPROC)[0] < 12_000:
        pytest.skip("this user may not have so many threads")
    done = subprocess.run(
        [sys.executable, "-c", MANY, env], env=os.environ | {"PYTHONPATH": "."}, stdout=subprocess.PIPE, text=True, check=True
    )
    assert int(done.stdout.split()[0]) < 2048, done.stdout


class Nothing(AsyncEnvironment):
    """Only what has to be there."""

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task("Nothing.", {}, f"{split}-{i}", split), range(3))

    @tool
    def wait(self) -> str:
        """Wait, without waiting."""
        return "done"

    def oracle(self) -> Message:
        return agentgym.assistant("nothing", thinking="")


def test_hooks_of_an_asynchronous_environment_may_be_plain() -> None:
    agentgym.register("test/Nothing-v0", Nothing)
    with agentgym.make("test/Nothing-v0") as env:
        env.reset(seed=1, options={"task": "train-0"})
        assert env.step(agentgym.assistant("", agentgym.call("wait")))[0].messages[0].content == "done"
        assert env.step("<think>open")[4]["errors"] == (agentgym.ErrorCategory.BAD_FORMAT,)
        assert env.step("done")[2]


class Cancelled(Fragile):
    """Something that it waits for gets cancelled, by nobody's wish."""

    def score(self, answer: str) -> dict[str, float]:
        if self.task.id == "train-3":
            raise asyncio.CancelledError
        return super().score(answer)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("blocking", [False, True])
def test_a_cancellation_from_inside_is_the_environments_failure(concurrency: int, blocking: bool) -> None:
    sink, progress = play(Cancelled, 20, args={"delay": 0.001 * blocking}, concurrency=concurrency, attempts=2)
    assert (progress.played, progress.failed, progress.interrupted) == (19, 1, False)
    assert [str(f) for _, _, f in sink.failures] == ["the environment was cancelled from inside"] * 2


class SlowToEnd(AsyncEnvironment):
    """Cleans up for longer than its deadline."""

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task("Wait.", {}, f"{split}-{i}", split), range(9))

    async def score(self, answer: str) -> dict[str, float]:
        try:
            await asyncio.sleep(20)
        finally:
            await asyncio.sleep(0.4)
        return {}


@pytest.mark.parametrize("when", [0.2, 0.45])  # before the deadline, and after it
def test_a_rollout_that_is_cancelled_ends_though_a_deadline_falls_at_the_same_time(when: float) -> None:
    agentgym.register("test/Odd-v0", SlowToEnd)

    async def go() -> float:
        plan = Rollout("test/Odd-v0", concurrency=2, attempts=5, deadlines=Deadlines(turn=0.3))
        run = asyncio.create_task(plan.run(SlowToEnd().tasks(), Scripted(lambda _: "done"), Memory()))
        await asyncio.sleep(when)
        run.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await run
        return time.monotonic() - began

    assert asyncio.run(go()) < 15


class Odd(Fragile):
    """Its rewards are NumPy's, its words cannot be encoded, and it may exit.

    Args:
        exits: Exit when scored.
        blocking: Live in a thread.
    """

    def __init__(self, exits: bool = False, blocking: bool = False) -> None:
        super().__init__()
        self.exits, self.blocking = exits, blocking

    @tool
    def count(self) -> str:
        """Count one on."""
        return f"\udcff{Fragile.count(self)}"

    def score(self, answer: str) -> dict[str, float]:
        if self.exits:
            raise SystemExit(0)
        return {"single": np.float32(0.5), "double": np.float64(0.5)}


def test_what_cannot_be_stored_is_made_storable(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        _, progress = play(Odd, 5, sink=store, sampler=Scripted(lambda r: r.env.oracle()))
        assert (progress.played, progress.failed) == (5, 0)
        (episode, *_) = store.episodes()
        assert [n.rewards for n in episode.nodes if n.rewards] == [{"single": 0.5, "double": 0.5}]
        assert episode.nodes[2].messages[0].content == "?1"


@pytest.mark.parametrize("blocking", [False, True])
def test_an_environment_that_exits_ends_nothing_else(blocking: bool) -> None:
    sink, progress = play(Odd, 3, args={"exits": True, "blocking": blocking}, attempts=2)
    assert (progress.played, progress.failed) == (0, 3)
    assert {str(f) for _, _, f in sink.failures} == {"SystemExit: 0"}


class Stuck(Heavy):
    """Cannot be made in any reasonable time."""

    def __init__(self, near: int = 0) -> None:
        super().__init__()
        if os.getpid() != near:
            time.sleep(60)


def children() -> set[str]:
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], stdout=subprocess.PIPE, text=True, check=True)
    return {line for line in found.stdout.splitlines() if "far.serve" in line}


def test_no_process_stays_where_none_could_be_made() -> None:
    _, progress = play(Stuck, 2, args={"near": os.getpid()}, attempts=1, deadlines=Deadlines(turn=0.5), concurrency=2)
    assert progress.failed == 2
    assert not children()


LONE = """
import os, sys, threading, time, agentgym
from tests.trajectories.crash_env import Fragile
from agentgym_trajectories.process import ProcessEnvironment
agentgym.register("test/Fragile-v0", Fragile)
env = ProcessEnvironment("test/Fragile-v0", {})
env.start()
threading.Thread(target=lambda: env.ask(lambda _: time.sleep(60)), daemon=True).start()
time.sleep(0.3)
print(env._process.pid, flush=True)
time.sleep(60)
"""


def test_a_process_in_the_middle_of_a_step_ends_with_its_parent() -> None:
    env = os.environ | {"PYTHONPATH": "."}
    with subprocess.Popen([sys.executable, "-c", LONE], env=env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        time.sleep(0.1)
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the process is still there")
