"""OpenEnv: an `Environment` behind its WebSocket server, in a process of its own, and 16 sessions of its client.

Keeps nothing: client and server pass on the last observation. The server's CPU time counts; its start does too (a fork after the
imports: some hundredths of a second). `reset_async` and `step_async` are written out, since the server would otherwise run every
step in a thread, at half the speed.
"""

import asyncio
import multiprocessing
import socket
from typing import Any

import uvicorn
from openenv.core import GenericEnvClient
from openenv.core.env_server import CallToolAction, Environment, Observation, State, create_app

from tests.benchmarks.chain import CALLS, PROMPT, SUM, arguments, report

SESSIONS = 16


class Seen(Observation):
    text: str = ""


class AddChain(Environment[CallToolAction, Seen, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True
    state = State()

    def add(self, a: int, b: int) -> str:
        return str(a + b)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Seen:
        return Seen(text=PROMPT)

    def step(self, action: CallToolAction, timeout_s: float | None = None, **kwargs: Any) -> Seen:
        if action.tool_name == "answer":
            return Seen(done=True, reward=float(action.arguments["text"] == SUM))
        return Seen(text={"add": self.add}[action.tool_name](**action.arguments))

    async def reset_async(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Seen:
        return self.reset(seed, episode_id)

    async def step_async(self, action: CallToolAction, timeout_s: float | None = None, **kwargs: Any) -> Seen:
        return self.step(action)


async def session(url: str, episodes: int) -> None:
    async with GenericEnvClient(base_url=url) as env:
        for _ in range(episodes):
            seen = await env.reset()
            for turn in range(CALLS):
                seen = await env.step({"tool_name": "add", "arguments": arguments(turn, seen.observation["text"])})
            seen = await env.step({"tool_name": "answer", "arguments": {"text": seen.observation["text"]}})
            assert (seen.done, seen.reward) == (True, 1.0)


async def sessions(url: str, episodes: int) -> None:
    await asyncio.gather(*(session(url, len(range(i, episodes, SESSIONS))) for i in range(SESSIONS)))


def serve(listening: socket.socket) -> None:
    app = create_app(AddChain, CallToolAction, Seen, max_concurrent_envs=SESSIONS)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


def run(episodes: int) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=SESSIONS) as listening:
        server = multiprocessing.get_context("fork").Process(target=serve, args=(listening,))
        server.start()
        try:
            asyncio.run(sessions(f"http://127.0.0.1:{listening.getsockname()[1]}", episodes))
        finally:
            server.terminate()
            server.join()  # only then does its CPU time count as that of a child


if __name__ == "__main__":
    report(run)
