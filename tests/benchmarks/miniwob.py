"""MiniWoB's click-test, by `web/MiniWoB-v0` and by others: episodes a second of the clock, one after the other in one tab."""

import time
from typing import Any

from agentgym import assistant, call
from agentgym_envs.web.miniwob import MiniWoB
from tests.benchmarks import peers

EPISODES, ROUNDS = 50, 3


async def episodes_per_s() -> float:
    """Ours, the best round, the browser's start left out."""
    env, best, click = MiniWoB("click-test"), 0.0, assistant("", call("click", element=1))
    tasks = env.tasks()[:EPISODES]
    await env.areset(options={"task": tasks[0]})
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for task in tasks:
            await env.areset(options={"task": task})
            _, reward, *_ = await env.astep(click)
            assert reward == 1.0
        best = max(best, EPISODES / (time.perf_counter() - began))
    await env.aclose()
    return round(best, 1)


def others() -> dict[str, Any]:
    """That of the peers that `make peers` has installed, by name."""
    return peers.play(peers.installed(peers.WEB))
