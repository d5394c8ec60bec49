"""The other side, in an environment of its own: OpenEnv's client (``client URL``) and OpenEnv's servers (``serve PORT PORT PORT``)."""

import asyncio
import json
import sys
from typing import Any

from openenv.core import GenericEnvClient


async def play(url: str) -> None:
    """Orders by OpenEnv's generic client: gold actions come from stdin, one JSON a line; prints what it saw."""
    async with GenericEnvClient(base_url=url) as env:
        tools = (await env.step({"type": "list_tools"})).observation["tools"]
        for line in sys.stdin:
            asked = json.loads(line)
            seen = await env.reset(**asked["reset"])
            opening = [m["content"] for m in seen.observation["messages"]]
            for action in asked["actions"]:
                assert not seen.done
                seen = await env.step(action)
            state = await env.state()
            print(json.dumps([opening, seen.done, seen.reward, state["step_count"], seen.metadata["success"]]), flush=True)
        print(json.dumps([t["name"] for t in tools]))
        try:
            await env.step({"nonsense": 1})
        except RuntimeError as error:
            print(json.dumps(str(error)))


def servers(ports: list[int]) -> None:  # noqa: C901
    import uvicorn
    from fastmcp import FastMCP
    from openenv.core.env_server import Action, Environment, MCPEnvironment, Observation, State, create_app
    from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation

    mcp = FastMCP("till")

    @mcp.tool
    def add(amount: int) -> int:
        """Add an amount to ten."""
        return 10 + amount

    class Till(MCPEnvironment):
        """Tools of an MCP server, with rewards."""

        SUPPORTS_CONCURRENT_SESSIONS = True
        state = State()

        def __init__(self) -> None:
            super().__init__(mcp)
            self.count = 0

        def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Observation:
            self.count = 0
            return Observation(metadata={"seed": seed})

        def _step_impl(self, action: Action, timeout_s: float | None = None, **_: Any) -> Observation:
            raise ValueError("calls only")

        async def step_async(self, action: Action, timeout_s: float | None = None, **kwargs: Any) -> Observation:
            seen = await super().step_async(action, timeout_s, **kwargs)
            if isinstance(seen, CallToolObservation):
                self.count += 1
                seen.reward, seen.done = 0.5 * self.count, self.count == 2
            return seen

    class Word(Action):
        text: str

    class Guess(Action):
        """Guess a number."""

        low: int
        high: int

    class Seen(Observation):
        told: str = ""

    class Words(Environment[Word, Seen, State]):
        SUPPORTS_CONCURRENT_SESSIONS = True
        state = State()

        def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Seen:
            self.word = "even" if (seed or 0) % 2 == 0 else "odd"
            return Seen(told=f"Say {self.word}.")

        def step(self, action: Any, timeout_s: float | None = None, **_: Any) -> Seen:
            if action.text == "break":
                raise RuntimeError("broken")
            return Seen(told="Good.", done=True, reward=1.0) if action.text == self.word else Seen(told="No.", reward=0.0)

    class Numbers(Environment[Guess, Seen, State]):
        SUPPORTS_CONCURRENT_SESSIONS = True
        state = State()

        def reset(self, seed: int | None = None, episode_id: str | None = None, split: str = "", index: int = 0) -> Seen:
            self.number = index
            return Seen(told=f"It is {split} {index}.")

        def step(self, action: Any, timeout_s: float | None = None, **_: Any) -> Seen:
            return Seen(told="done", done=True, reward=float(action.low <= self.number <= action.high) if self.number else None)

        def list_splits(self) -> list[str]:
            return ["train", "test"]

        def num_tasks(self, split: str) -> int:
            return {"train": 5, "test": 2}[split]

    made = {"till": (Till, CallToolAction, CallToolObservation), "words": (Words, Word, Seen), "numbers": (Numbers, Guess, Seen)}

    async def serve() -> None:
        configs = [
            uvicorn.Config(create_app(*classes, env_name=name, max_concurrent_envs=16), port=port, log_level="error")
            for (name, classes), port in zip(made.items(), ports, strict=True)
        ]
        await asyncio.gather(*(uvicorn.Server(config).serve() for config in configs))

    asyncio.run(serve())


if __name__ == "__main__":
    if sys.argv[1] == "client":
        asyncio.run(play(sys.argv[2]))
    else:
        servers(list(map(int, sys.argv[2:])))
