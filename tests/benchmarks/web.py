"""How fast the web environments are.

``python -m tests.benchmarks.web --json`` prints one line of JSON last:

- `text_steps_per_cpu_s`: steps of `web/Shop-v0` without a browser per second of this process's time, resets included, over the
  gold actions of 300 tasks of all levels; best of three.
"""

import asyncio
import json
import sys
import time

from agentgym import Message, Task
from agentgym_envs.web.accessibility import read
from agentgym_envs.web.shop.env import ShopEnvironment

TASKS = 300


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


def main() -> dict[str, float]:
    """Measure everything."""
    return {"text_steps_per_cpu_s": round(asyncio.run(text()))}


if __name__ == "__main__":
    measured = main()
    if "--json" not in sys.argv:
        for name, value in measured.items():
            print(f"{name:24} {value}")
    print(json.dumps(measured))
