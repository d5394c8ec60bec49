"""The shop in a real browser: it shows what the back end without one shows, and its end is nobody's failure."""

import asyncio
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from agentgym import EnvironmentFailure, ToolCall, assistant, call
from agentgym.checks import validate_env
from agentgym_envs.web.browser import BrowserBackend
from agentgym_envs.web.shop.env import ShopEnvironment
from tests.envs.chromiums import BROWSER, chromiums, headless  # noqa: F401
from tests.envs.web_walk import SITES, walk, wander

SIZE = 800
pytestmark = [BROWSER, pytest.mark.usefixtures("headless")]


def pair(made: Any) -> Iterator[tuple[Any, Any]]:
    envs = made(items=SITES[made]), made(items=SITES[made], backend="browser")
    yield envs
    for env in envs:
        env.close()


both = pytest.fixture(lambda: (yield from pair(ShopEnvironment)))
sites = pytest.fixture(params=SITES)(lambda request: (yield from pair(request.param)))


def test_the_oracle_solves_tasks(sites: Any) -> None:
    validation = validate_env(sites[1], "test", 2)
    assert (validation.gold_passed, validation.floor_passed) == (2, 0)


@pytest.mark.parametrize(("seed", "gold"), [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.5), (4, 0.5), (5, 0.7)])
def test_walks_show_the_same(sites: Any, seed: int, gold: float) -> None:
    text, browser = (walk(env, env.tasks("validation")[seed], seed, 15, gold) for env in sites)
    assert text == browser


C = call
ADD = (C("goto", address="/product/7"), C("select", element=8, option="black"), C("select", element=9, option="5 l"))
AREA = (C("goto", address="/product/7"), C("type", element=13, text="a\nb  c"))
ENTER, ESCAPE = C("press", key="Enter"), C("press", key="Escape")


@pytest.mark.parametrize(
    "calls",
    [
        (C("type", element=2, text="lamp"), ESCAPE, ENTER, C("search", query=' a  b~*é"<x> '), C("back")),
        (*AREA, ENTER, ENTER, C("click", element=13), ENTER, ESCAPE, C("click", element=14)),
        (*AREA, C("click", element=10), ENTER, C("back"), C("click", element=11)),
        (*ADD, C("click", element=10), ENTER, C("goto", address="/checkout"), C("click", element=11), ENTER, C("click", element=7)),
        (*ADD, C("click", element=11), C("type", element=8, text="3"), C("click", element=9), C("click", element=10)),
        (C("goto", address="/search?q=%C3%A9~*&limit=20&sort=price"), C("type", element=8, text=" 5 "), ENTER, C("click", element=1), ENTER),
        (C("click", element=2), ENTER, C("goto", address="/nothing"), C("click", element=1), C("scroll", direction="down")),
    ],
)  # fmt: skip
def test_the_ways_of_forms_are_the_same(both: Any, calls: tuple[ToolCall, ...]) -> None:
    seen: list[list[Any]] = []
    for env in both:
        env.reset(options={"task": "train-0"})
        seen.append([(*env.step(assistant("", made)), env.state_key()) for made in calls])
    assert seen[0] == seen[1]


def test_a_state_is_returned_to(both: Any) -> None:
    browser, other = both[1], ShopEnvironment(items=SIZE, backend="browser")
    for seed in range(3):
        walk(browser, browser.tasks()[seed], seed, 6)
        for made in (*ADD, C("type", element=13, text="well\nmade"), C("type", element=2, text="lamp")):
            browser.step(assistant("", made))
        rng, snapshot, actions, seen = random.Random(seed), browser.snapshot(), [], []
        for _ in range(5):
            actions.append(wander(browser, rng))
            seen.append((*browser.step(actions[-1]), browser.state_key()))
        for place in (browser, other):
            place.restore(snapshot)
            assert [(*place.step(a), place.state_key()) for a in actions] == seen
    other.close()


def test_a_page_that_does_not_come_back(both: Any) -> None:
    browser = both[1]
    browser.reset(options={"task": "train-0"})
    browser.step(assistant("", *ADD))
    snapshot = browser.snapshot()
    products = browser.site.goods.products
    kept = products[7]
    products[7] = products[8]
    with pytest.raises(EnvironmentFailure, match="/product/7 did not come back as it was"):
        browser.restore(snapshot)
    products[7] = kept
    browser.restore(snapshot)


def test_the_browser_reaches_this_machine_alone(both: Any) -> None:
    browser = both[1]
    browser.reset(options={"task": "train-0"})
    backend = browser._backend
    assert isinstance(backend, BrowserBackend)

    async def reach(address: str) -> None:
        await backend._page.goto(address)

    for address in ("http://example.com/", "http://localhost/", "http://127.0.0.2/"):
        with pytest.raises(EnvironmentFailure, match="net::ERR_"):
            asyncio.run(backend._chromium.run(reach(address)))


@pytest.mark.parametrize("made", [C("goto", address="/cart"), C("click", element=1)])
def test_a_site_that_breaks(both: Any, made: ToolCall) -> None:
    browser = both[1]
    browser.reset(options={"task": "train-0"})
    browser.session.db.execute("DROP TABLE cart")
    with pytest.raises(EnvironmentFailure, match="answered with status 500"):
        browser.step(assistant("", made))
    with pytest.raises(EnvironmentFailure, match="broke before"):
        browser.step(assistant("", C("click", element=1)))
    browser.reset(options={"task": "train-0"})  # in another session, with another tab
    browser.step(assistant("", made))
    browser.close()
    with pytest.raises(EnvironmentFailure, match="was closed"):
        browser.step(assistant("", made))


def test_a_browser_that_hangs(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = both[1]
    browser.reset(options={"task": "train-0"})
    monkeypatch.setattr("agentgym_envs.web.browser.LONGEST", 1.0)
    for process in chromiums():
        process.suspend()
    with pytest.raises(EnvironmentFailure, match="did not answer in 1 s"):
        browser.step(assistant("", C("goto", address="/cart")))
    monkeypatch.undo()
    for process in chromiums():
        process.resume()
    browser.reset(options={"task": "train-0"})


async def play(env: ShopEnvironment, task: Any) -> float:
    await env.areset(options={"task": task})
    while True:
        _, reward, terminated, truncated, _ = await env.astep(env.oracle())
        if terminated or truncated:
            return reward


async def insist(env: ShopEnvironment, task: Any) -> tuple[float, int]:
    """Reward, and how often it failed before."""
    for failures in range(5):
        try:
            return await play(env, task), failures
        except EnvironmentFailure:
            continue
    raise AssertionError("it never ended")


async def kill() -> None:
    await asyncio.sleep(2)
    for process in chromiums():
        process.send_signal(signal.SIGKILL)


def test_a_dead_browser_is_replaced() -> None:
    """Killed in the middle of sixteen episodes: each fails or ends, and is played again to its end."""

    async def main() -> list[tuple[float, int]]:
        envs = [ShopEnvironment(items=SIZE, backend="browser") for _ in range(16)]
        tasks = envs[0].tasks()[:16]
        *ends, _ = await asyncio.gather(*(insist(env, task) for env, task in zip(envs, tasks, strict=True)), kill())
        for env in envs:
            await env.aclose()
        return ends

    ends = asyncio.run(main())
    assert [reward for reward, _ in ends] == [1.0] * 16
    assert any(failures for _, failures in ends)
