"""OpenEnv: an `Environment` behind its WebSocket server, in a process of its own, and 16 sessions of its client.

Keeps nothing: client and server pass on the last observation. The server's CPU time counts; its start does too (a fork after the
imports: some hundredths of a second). `reset_async` and `step_async` are written out, since the server would otherwise run every
step in a thread, at half the speed.
"""

import asyncio
import contextlib
import multiprocessing
import socket
from typing import Any

import uvicorn
from openenv.core import GenericEnvClient
from openenv.core.env_server import Action, Environment, Observation, State, create_app

from tests.benchmarks.chain import CALLS, PROMPT, SUM, arguments, report

SESSIONS = 16


class Call(Action):
    """Of a tool, or of `answer`."""

    name: str
    arguments: dict[str, Any]


class Seen(Observation):
    """The question, or the result of a tool."""

    text: str


class AddChain(Environment[Call, Seen, State]):
    """One tool and the reward."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Seen:
        self._state = State(episode_id=episode_id)
        return Seen(text=PROMPT)

    def add(self, a: int, b: int) -> str:
        return str(a + b)

    def step(self, action: Call, timeout_s: float | None = None, **kwargs: Any) -> Seen:
        self._state.step_count += 1
        if action.name == "answer":
            return Seen(text="", done=True, reward=float(action.arguments["text"] == SUM))
        return Seen(text={"add": self.add}[action.name](**action.arguments))

    async def reset_async(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Seen:
        return self.reset(seed, episode_id)

    async def step_async(self, action: Call, timeout_s: float | None = None, **kwargs: Any) -> Seen:
        return self.step(action)

    @property
    def state(self) -> State:
        return self._state


async def session(url: str, episodes: int) -> None:
    async with GenericEnvClient(base_url=url) as env:
        for _ in range(episodes):
            result = await env.reset()
            for turn in range(CALLS):
                result = await env.step({"name": "add", "arguments": arguments(turn, result.observation["text"])})
            result = await env.step({"name": "answer", "arguments": {"text": result.observation["text"]}})
            assert (result.done, result.reward) == (True, 1.0)


async def sessions(url: str, episodes: int) -> None:
    await asyncio.gather(*(session(url, len(range(i, episodes, SESSIONS))) for i in range(SESSIONS)))


def serve(listening: socket.socket) -> None:
    app = create_app(AddChain, Call, Seen, max_concurrent_envs=SESSIONS)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


def run(episodes: int) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=SESSIONS)) as listening:
        server = multiprocessing.get_context("fork").Process(target=serve, args=(listening,), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        asyncio.run(sessions(url, episodes))
    finally:
        server.terminate()
        server.join()  # only then does its CPU time count as that of a child


if __name__ == "__main__":
    report(run)
