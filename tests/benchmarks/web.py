"""How fast the web environments are, and whether all of their tasks can be done.

``python -m tests.benchmarks.web --json`` prints one line of JSON last:

- `text_steps_per_cpu_s`: steps of `web/Shop-v0` without a browser per second of this process's time, resets included, over the
  gold actions of 300 tasks of all levels; best of three; `booking_steps_per_cpu_s` is the same of `web/Booking-v0`;
- `browser_actions_per_s`: steps a second of the clock over 16 contexts of one headless Chromium, the gold actions of 64 tasks;
  left out where there is no Chromium;
- `browser_actions_per_cpu_s`: the same for each second of all processes' time, the browser's among them. On a busy machine it tells
  more: times the number of cores it is what the clock would show if nothing else ran;
- `miniwob_episodes_per_s` and `peers`: see `miniwob.py`; without Chromium left out, too.

``--counts`` counts instead, for both sites: 500 held-out goals done by the gold policy without and with a browser, 500 tries of
somebody who clicks about (`Environment.explore`), and 200 walks of 15 steps that both back ends are to show alike, every observation,
reward and state. It takes an hour on one busy core.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import psutil

from agentgym import Message, Task
from agentgym.browsers import of_the_system
from agentgym_envs.web.accessibility import read
from agentgym_envs.web.booking.env import BookingEnvironment
from agentgym_envs.web.browser import opened
from agentgym_envs.web.errand import Errand
from agentgym_envs.web.shop.env import ShopEnvironment
from tests.benchmarks import miniwob
from tests.envs.web_walk import awalk

TASKS, BROWSER_TASKS, CONTEXTS = 300, 64, 16
GOALS, WALKS, STEPS, FEW = 500, 200, 15, 4
SITES: tuple[type[Errand[Any, Any]], ...] = (ShopEnvironment, BookingEnvironment)
T = TypeVar("T")


async def play(env: Any, task: Task, policy: Callable[[], Message]) -> tuple[list[Message], bool]:
    """The actions of an episode, and whether it solved its task."""
    await env.areset(options={"task": task})
    actions: list[Message] = []
    while True:
        actions.append(policy())
        _, _, terminated, truncated, info = await env.astep(actions[-1])
        if terminated or truncated:
            return actions, info["success"]


async def shared(envs: Sequence[Any], jobs: int, work: Callable[[Any, int], Awaitable[T]]) -> list[T]:
    """Each environment does its share of the jobs, all at once."""

    async def some(first: int) -> list[T]:
        return [await work(envs[first], number) for number in range(first, jobs, len(envs))]

    found = await asyncio.gather(*map(some, range(len(envs))))
    for env in envs:
        await env.aclose()
    return [one for part in found for one in part]


# ---- speed -------------------------------------------------------------------------------------------------------------------


async def steps_per_cpu_second(env: Any, episodes: list[tuple[Task, list[Message]]]) -> float:
    """Steps a second of this process's time; pages that were read and searches that were made before are forgotten."""
    read.cache_clear()
    (env.site.goods if isinstance(env, ShopEnvironment) else env.site.inventory).search.cache_clear()
    began = time.process_time()
    for task, actions in episodes:
        await env.areset(options={"task": task})
        for action in actions:
            await env.astep(action)
    return sum(len(actions) for _, actions in episodes) / (time.process_time() - began)


async def text(site: type[Errand[Any, Any]]) -> float:
    """The back end without a browser."""
    env = site()
    episodes = [(task, (await play(env, task, env.oracle))[0]) for task in env.tasks()[:TASKS]]
    return max([await steps_per_cpu_second(env, episodes) for _ in range(3)])


def cpu_seconds() -> float:
    """Of this process and all below it."""
    times = [p.cpu_times() for p in (psutil.Process(), *psutil.Process().children(recursive=True))]
    return sum(t.user + t.system for t in times)


async def browser() -> tuple[float, float]:
    """Actions a second of the clock, and of all processes' time; the browser's start is left out."""
    envs = [ShopEnvironment(backend="browser") for _ in range(CONTEXTS)]
    tasks = envs[0].tasks()
    await asyncio.gather(*(env.areset(options={"task": tasks[0]}) for env in envs))
    began, cpu, spent = time.perf_counter(), cpu_seconds(), 0.0

    async def one(env: Any, number: int) -> int:
        nonlocal spent
        actions, _ = await play(env, tasks[number], env.oracle)
        spent = cpu_seconds() - cpu
        return len(actions)

    actions = sum(await shared(envs, BROWSER_TASKS, one))
    return actions / (time.perf_counter() - began), actions / spent


# ---- counts ------------------------------------------------------------------------------------------------------------------


async def solved(site: type[Errand[Any, Any]], backend: str) -> int:
    """How many held-out goals the gold policy reaches with reward 1."""
    envs = [site(backend=backend) for _ in range(FEW if backend == "browser" else 1)]
    tasks = envs[0].tasks("test")

    async def one(env: Any, number: int) -> bool:
        return (await play(env, tasks[number], env.oracle))[1]

    return sum(await shared(envs, GOALS, one))


async def by_chance(site: type[Errand[Any, Any]]) -> int:
    """How many somebody reaches who clicks about."""
    env = site()

    async def one(env: Any, number: int) -> bool:
        rng = random.Random(number)
        return (await play(env, env.tasks("test")[number], lambda: env.explore(rng)))[1]

    return sum(await shared([env], GOALS, one))


async def alike(site: type[Errand[Any, Any]]) -> int:
    """How many walks both back ends show alike; every other one is led by the gold policy half of the time."""
    tasks = site().tasks("validation")

    async def one(env: Any, number: int) -> list[Any]:
        return await awalk(env, tasks[number], number, STEPS, gold=0.5 * (number % 2))

    with_browser = await shared([site(backend="browser") for _ in range(FEW)], WALKS, one)
    without = await shared([site() for _ in range(FEW)], WALKS, one)
    return sum(a == b for a, b in zip(with_browser, without, strict=True))


def counts() -> dict[str, int]:
    """Count everything, and say so as it goes."""
    found: dict[str, int] = {}
    works: dict[str, Callable[[type[Errand[Any, Any]]], Coroutine[Any, Any, int]]] = {
        "solved_text": lambda site: solved(site, "text"),
        "solved_by_chance": by_chance,
        "walks_alike": alike,
        "solved_browser": lambda site: solved(site, "browser"),
    }
    for what, site in itertools.product(works, SITES):
        name, began = f"{site.__name__.removesuffix('Environment').lower()}_{what}", time.perf_counter()
        found[name] = asyncio.run(works[what](site))
        print(f"{name:24} {found[name]:4} in {time.perf_counter() - began:.0f} s", flush=True)
    return found


def speeds() -> dict[str, Any]:
    """Measure everything."""
    found: dict[str, Any] = {
        "text_steps_per_cpu_s": round(asyncio.run(text(ShopEnvironment))),
        "booking_steps_per_cpu_s": round(asyncio.run(text(BookingEnvironment))),
    }
    if of_the_system():
        clock, cpu = asyncio.run(browser())
        found |= {"browser_actions_per_s": round(clock, 1), "browser_actions_per_cpu_s": round(cpu, 1)}
        found |= {"miniwob_episodes_per_s": asyncio.run(miniwob.episodes_per_s()), "peers": miniwob.others()}
    return found


if __name__ == "__main__":
    measured: dict[str, Any] = counts() if "--counts" in sys.argv else speeds()
    for browser_open in list(opened.values()):
        browser_open.close()
    if "--json" not in sys.argv:
        for name, value in measured.items():
            print(f"{name:28} {value}")
    print(json.dumps(measured))
