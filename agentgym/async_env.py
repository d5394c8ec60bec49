"""Environments that wait without a thread: tools and hooks may be coroutine functions.

The rollout engine awaits `areset` and `astep` on its own event loop, so that ten thousand waiting episodes cost no threads::

    class Shop(agentgym.AsyncEnvironment):
        @tool
        async def search(self, text: str) -> str:
            async with self.session.get(...) as response:
                return await response.text()

`reset` and `step` work as everywhere (Gymnasium, `agentgym env check`): they run a private event loop. What is bound to a loop
(a client's session, a browser) is best opened in `begin`, when the loop is known.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from agentgym.env import Action, Environment, Errors, Messages, Snapshot, StepResult, unreadable
from agentgym.messages import Message, ToolCall
from agentgym.spaces import Observation
from agentgym.tasks import Task
from agentgym.tools import ToolResult

T = TypeVar("T")


class AsyncEnvironment(Environment):
    """An environment whose tools, `begin`, `reply`, `shape`, `score` and `aclose` may be coroutine functions; see the module."""

    _runner: asyncio.Runner | None = None

    def begin(self, task: Task) -> Any:
        """As in `Environment`; may be a coroutine function."""
        return super().begin(task)

    def reply(self, message: Message) -> Any:
        """As in `Environment`; may be a coroutine function."""
        return super().reply(message)

    def score(self, answer: str) -> Any:
        """As in `Environment`; may be a coroutine function."""
        return super().score(answer)

    def shape(self) -> Any:
        """As in `Environment`; may be a coroutine function."""
        return super().shape()

    async def acall_tool(self, call: ToolCall) -> ToolResult:
        """Run one call of the agent; override to see what was called and what came of it."""
        return await self.tools.acall(call)

    async def aclose(self) -> None:
        """Free what the environment holds, on the loop that it was used on."""

    async def areset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """`reset` on the running event loop."""
        self._prepare(seed, options or {})
        opening: str | Sequence[Message] = await _given(self.begin(self.task))
        return self._opened(opening)

    async def astep(self, action: Action) -> StepResult:
        """`step` on the running event loop; parallel calls run in their order."""
        messages, errors = await self._areact(self._accept(action))
        shaped: Mapping[str, float] = await _given(self.shape())
        scored: Mapping[str, float] | None = None if self._answer is None else await _given(self.score(self._answer))
        return self._outcome(messages, errors, shaped, scored)

    async def arestore(self, snapshot: Snapshot) -> None:
        """`restore` on the running event loop."""
        if getattr(self, "task", None) is not snapshot.task:
            await self.areset(options={"task": snapshot.task})
        super().restore(snapshot)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """`areset` on a private event loop."""
        return self._on_own_loop(self.areset(seed=seed, options=options))

    def step(self, action: Action) -> StepResult:
        """`astep` on a private event loop."""
        return self._on_own_loop(self.astep(action))

    def restore(self, snapshot: Snapshot) -> None:
        """`arestore` on a private event loop."""
        self._on_own_loop(self.arestore(snapshot))

    def close(self) -> None:
        """`aclose` on the private event loop, where there is one, and the end of that."""
        if self._runner is not None:
            self._runner.run(self.aclose())
            self._runner.close()
            self._runner = None

    def _on_own_loop(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        self._runner = self._runner or asyncio.Runner()
        # Not `Runner.run`: its handling of Ctrl-C writes the whole action out as text, which takes longer than most steps.
        return self._runner.get_loop().run_until_complete(run())

    async def _areact(self, message: Message) -> tuple[Messages, Errors]:
        if message.malformed:
            return unreadable(message)
        if not message.tool_calls:
            return self._replied(message, await _given(self.reply(message)))
        return self._answers(message, [await self.acall_tool(c) for c in message.tool_calls[: self.max_calls]])


async def _given(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
