"""``web/MiniWoB-v0``: all pages, their seeds and rewards, and what becomes of episodes whose browser dies."""

import asyncio
import importlib.util
import random
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from agentgym import SPLITS, EnvironmentFailure, Message, UserError, assistant, call, make
from agentgym.checks import check_env
from agentgym.sampling import SampleRequest
from agentgym.sampling import Scripted as ScriptedSampler
from agentgym_envs.web import miniwob
from agentgym_envs.web.browser import chromium
from agentgym_envs.web.miniwob import UNTIDY, MiniWoB, folder, pages
from agentgym_trajectories.rollout import Memory, Rollout
from tests.envs.chromiums import BROWSER, chromiums, headless  # noqa: F401
from tests.envs.miniwob_policies import POLICIES, Reader, solved

pytestmark = [BROWSER, pytest.mark.usefixtures("headless")]


@pytest.fixture
def env() -> Iterator[MiniWoB]:
    made = MiniWoB("click-button-sequence")
    yield made
    made.close()


def opening(env: MiniWoB, task: str) -> tuple[str, str]:
    observation, _ = env.reset(options={"task": task})
    return observation.messages[-1].content, env.state_key()


def step(env: MiniWoB, action: Message) -> tuple[Any, ...]:
    return (*env.step(action), env.state_key())


def wander(env: MiniWoB, rng: random.Random) -> Message:
    """Anything that can be done on the page."""
    controls = env.state.view.page.controls
    x, y, to_x, to_y = (rng.randint(0, 160) for _ in range(4))
    if not controls or rng.random() < 0.2:
        return assistant(
            "", rng.choice((call("click_at", x=x, y=y), call("drag", x=x, y=y, to_x=to_x, to_y=to_y), call("press", key="Tab")))
        )
    number = rng.randint(1, len(controls))
    control = controls[number - 1]
    if control.kind in ("text", "area"):
        return assistant("", call("type", element=number, text=rng.choice(("a", "12", "Foo bar"))))
    if control.kind == "select":
        return assistant("", call("select", element=number, option=rng.choice([*control.options.values(), ""])))
    return assistant("", call("click", element=number))


# ---- pages, seeds, rewards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(5))
def test_every_page_begins_the_same_with_the_same_seed(part: int) -> None:
    """Loaded anew or begun again in place: a tab where it was played before is as good as another one."""
    chosen = pages()[part::5]
    assert len(chosen) == 26
    with closing(MiniWoB()) as env:
        for page in chosen:
            assert opening(env, f"{page}/17") == opening(env, f"{page}/17"), page


def test_other_seeds_begin_in_another_way() -> None:
    with closing(MiniWoB("click-button")) as env:
        assert len({opening(env, f"click-button/{seed}") for seed in range(10)}) == 10


@pytest.mark.parametrize("page", ["click-checkboxes", "drag-box", "email-inbox", "terminal", "use-spinner"])
def test_what_was_done_before_is_forgotten(page: str) -> None:
    rng = random.Random(page)
    with closing(MiniWoB(page)) as used, closing(MiniWoB(page)) as fresh:
        opening(used, f"{page}/5")
        for _ in range(6):
            *_, terminated, _, _, _ = step(used, wander(used, rng))
            if terminated:
                break
        assert opening(used, f"{page}/2") == opening(fresh, f"{page}/2")
        for _ in range(4):
            action = wander(used, rng)
            done = step(used, action)
            assert done == step(fresh, action)
            if done[2]:
                break
    assert (page in UNTIDY) == (page == "use-spinner")


@pytest.mark.parametrize("part", range(3))
def test_policies_solve_what_they_know(part: int) -> None:
    """All seeds of `SEEDS` by ``python -m tests.envs.miniwob_policies``; two of each page here."""
    assert len(POLICIES) >= 15

    async def main() -> dict[str, list[int]]:
        chosen = list(POLICIES)[part::3]
        return dict(zip(chosen, await asyncio.gather(*(solved(page, range(2)) for page in chosen)), strict=True))

    assert {page: seeds for page, seeds in asyncio.run(main()).items() if seeds != [0, 1]} == {}


def test_the_reward_is_the_page_s(env: MiniWoB) -> None:
    for names, reward in ((("ONE", "TWO"), 1.0), (("TWO", "ONE"), -1.0)):
        env.reset(options={"task": "click-button-sequence/0"})
        for name in names:
            observation, rewarded, terminated, _, info = env.step(assistant("", Reader(env).click("button", name)))
        assert (rewarded, terminated, info["success"]) == (reward, True, reward == 1)
        assert observation.messages[0].content == "The page has ended the task."
    for giving_up in ("I cannot.", assistant("", call("finish"))):
        env.reset(options={"task": "click-button-sequence/0"})
        assert env.step(giving_up)[1:3] == (-1.0, True)


def test_partial_rewards_are_kept() -> None:
    with closing(MiniWoB("click-checkboxes-soft")) as env:
        env.reset(options={"task": "click-checkboxes-soft/0"})
        *_, reward, terminated, _, info = env.step(assistant("", Reader(env).submit()))
        assert -1 < reward < 1
        assert (terminated, info["success"]) == (True, False)


def test_time_decides_nothing(env: MiniWoB) -> None:
    """Twenty seconds on a page whose limit is ten."""
    env.reset(options={"task": "click-button-sequence/0"})
    for _ in range(20):
        assert not env.step(assistant("", call("wait")))[2]
    env.step(assistant("", call("click", element=1)))
    assert env.step(assistant("", call("click", element=2)))[1] == 1.0


def test_after_the_end_nothing_is_done(env: MiniWoB) -> None:
    env.reset(options={"task": "click-button-sequence/0"})
    observation, reward, *_ = env.step(assistant("", *(call("click", element=number) for number in (2, 1, 1))))
    assert observation.messages[2].content == "Error: the task has ended"
    assert reward == -1.0


def test_a_page_s_clock(env: MiniWoB) -> None:
    """Timers run in the order of their times, those that begin others included, and time stands still between."""
    env.reset(options={"task": "click-button-sequence/0"})
    tab = env.tab
    script = """() => {
      const seen = [], note = name => seen.push([name, Date.now() - start, performance.now() - start2]);
      const start = Date.now(), start2 = performance.now();
      setTimeout(() => { note('b'); setTimeout(note, 0, 'c'); throw new Error('a timer of a page that breaks'); }, 20);
      const ticking = setInterval(() => note('tick'), 15);
      setTimeout(note, 10, 'a');
      clearTimeout(setTimeout(note, 5, 'never'));
      requestAnimationFrame(() => note('frame'));
      agentgymClock.pass(40);
      clearInterval(ticking);
      agentgymClock.pass(1000);
      return [seen, new Date() - start, new Date(2020, 0).getTime() < start, Date().length > 10, new Date() instanceof Date];
    }"""

    async def run() -> Any:
        return await chromium().run(tab._page.evaluate(script))

    seen, passed, *rest = asyncio.run(run())
    expected = [("a", 10), ("tick", 15), ("frame", 16), ("b", 20), ("c", 21), ("tick", 30)]
    assert seen == [[name, at, at] for name, at in expected]
    assert passed == 1040
    assert rest == [True, True, True]


# ---- tasks -------------------------------------------------------------------------------------------------------------------


def test_tasks() -> None:
    env = make("web/MiniWoB-v0")
    assert {task.data["page"] for task in env.tasks("validation")[:130]} == set(pages())
    only = make("web/MiniWoB-v0", page="click-test")
    assert [task.data["seed"] for task in only.tasks("train")[:5]] == [0, 1, 4, 5, 8]
    assert [task.data["seed"] for task in only.tasks("test")[:3]] == [3, 7, 11]
    assert only.find_task("click-test/7").split == "test"
    assert all(only.find_task(task.id) == task for split in SPLITS for task in only.tasks(split)[:9])
    assert "goto" not in only.tools
    assert {"click", "type", "select", "press", "scroll", "click_at", "drag", "wait", "finish"} == {
        tool.name for tool in only.tools
    }
    for unknown in ("click-link/7", "click-test/-1", "click-test/x", "click-test", "click-test/9999999999999999"):
        with pytest.raises(UserError, match="ids look like 'click-test/17'"):
            only.find_task(unknown)
    with pytest.raises(UserError, match="MiniWoB has no page 'click-tset': use one of ascending-numbers, "):
        make("web/MiniWoB-v0", page="click-tset")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for cached in (folder, pages):
        cached.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'agentgym\[miniwob\]'"):
        MiniWoB()
    for cached in (folder, pages):
        cached.cache_clear()


def test_conformance() -> None:
    failed = [check for check in check_env("web/MiniWoB-v0", tasks=1, page="click-option") if not check.ok]
    assert failed == []


def test_a_state_that_does_not_come_back(env: MiniWoB, monkeypatch: pytest.MonkeyPatch) -> None:
    env.reset(options={"task": "click-button-sequence/0"})
    env.step(assistant("", call("click", element=1)))
    snapshot = env.snapshot()
    env.restore(snapshot)
    monkeypatch.setattr(miniwob, "START", miniwob.START.replace("seedrandom(seed)", "seedrandom(seed + 1)"))
    with pytest.raises(EnvironmentFailure, match="1 actions led to another state than before"):
        env.restore(snapshot)
    env.close()
    with pytest.raises(EnvironmentFailure, match="was closed in the middle"):
        env.step(assistant("", call("wait")))


# ---- browsers that die -------------------------------------------------------------------------------------------------------


def patient(request: SampleRequest) -> Message:
    """Looks a few times before it clicks, so that there is a middle of an episode."""
    turn: int = request.env.turn
    return assistant("", call("click", element=turn - 3) if turn > 3 else call("wait"))


async def survive(episodes: int, kills: int = 1) -> tuple[Memory, Any]:
    """Play episodes all at once, and kill the browser in their middle."""
    sink = Memory()
    plan = Rollout("web/MiniWoB-v0", {"page": "click-button-sequence"}, concurrency=episodes, attempts=5)

    async def kill() -> None:
        for _ in range(kills):
            while sum(process.name().startswith("chrom") for process in chromiums()) < 4 + episodes // 4:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            for process in chromiums():
                process.send_signal(signal.SIGKILL)

    tasks = MiniWoB("click-button-sequence").tasks()[:episodes]
    progress, _ = await asyncio.gather(plan.run(tasks, ScriptedSampler(patient), sink), kill())
    return sink, progress


def test_a_dead_browser_is_replaced() -> None:
    """Every episode comes to its end on a new browser, and no reward comes of a failure."""
    sink, progress = asyncio.run(survive(16))
    assert progress.played == 16
    assert (progress.failed, len(sink.episodes)) == (0, 16)
    assert progress.attempts_failed > 0
    assert all(
        trajectory.success and trajectory.reward == 1.0 for episode in sink.episodes for trajectory in episode.trajectories()
    )
    assert all(isinstance(failure, EnvironmentFailure) for _, _, failure in sink.failures)
    assert not any(node.end or node.reward for episode, *_ in sink.failures for node in episode.nodes)
    chromium().close()
    assert not chromiums()


def test_a_dead_page_is_replaced(env: MiniWoB) -> None:
    """One whose process alone is killed."""
    env.reset(options={"task": "click-button-sequence/0"})
    for process in chromiums():
        if "--type=renderer" in process.cmdline():
            process.send_signal(signal.SIGKILL)
    with pytest.raises(EnvironmentFailure):
        env.step(assistant("", call("click", element=1)))
    env.reset(options={"task": "click-button-sequence/0"})
    env.step(assistant("", call("click", element=1)))
    assert env.step(assistant("", call("click", element=2)))[1] == 1.0


def test_who_gives_up_leaves_nothing_behind(env: MiniWoB) -> None:
    """An action that nobody waits for any longer is none of the next episode."""

    async def main() -> float:
        await env.areset(options={"task": "click-button-sequence/0"})
        for process in chromiums():
            process.suspend()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await env.astep(assistant("", call("click", element=2)))
        for process in chromiums():
            process.resume()
        await env.areset(options={"task": "click-button-sequence/0"})
        await env.astep(assistant("", call("click", element=1)))
        _, reward, *_ = await env.astep(assistant("", call("click", element=2)))
        await env.aclose()
        return reward

    assert asyncio.run(main()) == 1.0
