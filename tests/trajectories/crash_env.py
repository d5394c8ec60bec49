"""An environment that can be slow or break, for the tests of the engine; imported by subprocesses too."""

import asyncio
import time

import agentgym
from agentgym import AsyncEnvironment, Environment, EnvironmentFailure, Message, Task, Tasks, assistant, call, tool


class Fragile(Environment):
    """Count to three with a tool; may be slow, and may break.

    Args:
        delay: Seconds that each call takes.
        broken: Share of calls that raise an `EnvironmentFailure`.
        bug: Raise a plain exception instead.
    """

    def __init__(self, delay: float = 0.0, broken: float = 0.0, bug: bool = False) -> None:
        self.delay, self.broken, self.bug = delay, broken, bug
        self.blocking = delay > 0

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(f"Count, number {i}.", {"i": i}, f"{split}-{i}", split), range(1000))

    def begin(self, task: Task) -> str:
        self.state = 0
        return task.prompt

    @tool
    def count(self) -> str:
        """Count one on."""
        time.sleep(self.delay)
        self.state += 1
        return str(self.state)

    def shape(self) -> dict[str, float]:
        if self.np_random.random() < self.broken:
            if self.bug:
                raise ZeroDivisionError("a bug of ours")
            raise EnvironmentFailure("the container died")
        return {}

    def score(self, answer: str) -> dict[str, float]:
        return {"counted": float(self.state == 3 and answer == "3")}

    def oracle(self) -> Message:
        return assistant("", call("count")) if self.state < 3 else assistant("3")


class Waiting(AsyncEnvironment):
    """Count to three with a tool that waits on the event loop.

    Args:
        delay: Seconds that each call takes.
        broken: The tool raises.
    """

    def __init__(self, delay: float = 0.0, broken: bool = False) -> None:
        self.delay, self.broken = delay, broken

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(f"Count, number {i}.", {"i": i}, f"{split}-{i}", split), range(1000))

    async def begin(self, task: Task) -> str:
        self.state = 0
        return task.prompt

    @tool
    async def count(self) -> str:
        """Count one on."""
        await asyncio.sleep(self.delay)
        if self.broken:
            raise ZeroDivisionError
        self.state += 1
        return str(self.state)

    async def score(self, answer: str) -> dict[str, float]:
        return {"counted": float(self.state == 3 and answer == "3")}

    def oracle(self) -> Message:
        return assistant("", call("count")) if self.state < 3 else assistant("3")


def register() -> None:
    agentgym.register("test/Fragile-v0", Fragile)
    agentgym.register("test/Waiting-v0", Waiting)
