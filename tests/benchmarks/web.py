"""How fast the web environments are.

``python -m tests.benchmarks.web --json`` prints one line of JSON last:

- `text_steps_per_cpu_s`: steps of `web/Shop-v0` without a browser per second of this process's time, resets included, over the
  gold actions of 300 tasks of all levels; best of three;
- `browser_actions_per_s`: steps a second of the clock over 16 contexts of one headless Chromium, the gold actions of 64 tasks;
  left out where there is no Chromium;
- `miniwob_episodes_per_s` and `peers`: see `miniwob.py`; without Chromium left out, too.
"""

import asyncio
import json
import shutil
import sys
import time
from typing import Any

from agentgym import Message, Task
from agentgym_envs.web.accessibility import read
from agentgym_envs.web.browser import PROGRAMS
from agentgym_envs.web.shop.env import ShopEnvironment
from tests.benchmarks import miniwob

TASKS, BROWSER_TASKS, CONTEXTS = 300, 64, 16


async def gold(env: ShopEnvironment, task: Task) -> list[Message]:
    """The actions that solve a task."""
    await env.areset(options={"task": task})
    actions, ended = [], False
    while not ended:
        actions.append(env.oracle())
        _, _, terminated, truncated, _ = await env.astep(actions[-1])
        ended = terminated or truncated
    return actions


async def steps_per_cpu_second(env: ShopEnvironment, episodes: list[tuple[Task, list[Message]]]) -> float:
    """Steps a second of this process's time; pages that were read before are forgotten."""
    read.cache_clear()
    env.site.goods.search.cache_clear()
    began = time.process_time()
    for task, actions in episodes:
        await env.areset(options={"task": task})
        for action in actions:
            await env.astep(action)
    return sum(len(actions) for _, actions in episodes) / (time.process_time() - began)


async def text() -> float:
    """The back end without a browser."""
    env = ShopEnvironment()
    episodes = [(task, await gold(env, task)) for task in env.tasks()[:TASKS]]
    return max([await steps_per_cpu_second(env, episodes) for _ in range(3)])


async def browser() -> float:
    """Actions a second with a browser, its start left out."""
    envs = [ShopEnvironment(backend="browser") for _ in range(CONTEXTS)]
    tasks = envs[0].tasks()
    await asyncio.gather(*(env.areset(options={"task": tasks[0]}) for env in envs))

    async def play(number: int) -> int:
        return sum([len(await gold(envs[number], tasks[i])) for i in range(number, BROWSER_TASKS, CONTEXTS)])

    began = time.perf_counter()
    actions = sum(await asyncio.gather(*map(play, range(CONTEXTS))))
    rate = actions / (time.perf_counter() - began)
    for env in envs:
        await env.aclose()
    return rate


def main() -> dict[str, Any]:
    """Measure everything."""
    found: dict[str, Any] = {"text_steps_per_cpu_s": round(asyncio.run(text()))}
    if any(map(shutil.which, PROGRAMS)):
        found["browser_actions_per_s"] = round(asyncio.run(browser()), 1)
        found["miniwob_episodes_per_s"] = asyncio.run(miniwob.episodes_per_s())
        found["peers"] = miniwob.others()
    return found


if __name__ == "__main__":
    measured = main()
    if "--json" not in sys.argv:
        for name, value in measured.items():
            print(f"{name:24} {value}")
    print(json.dumps(measured))
