"""Environments on pages that have scripts: more tools, and states that are returned to by doing the same again."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from agentgym import EnvironmentFailure, Message, Task, ToolCall, ToolError, system, tool, user
from agentgym.env import Snapshot
from agentgym.tools import ToolResult

from .backend import View
from .env import PageEnvironment, Saved, Visit
from .tab import Tab

Key = Literal[
    "Enter", "Escape", "Tab", "Space", "Backspace", "Delete", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End",
    "PageUp", "PageDown",
]  # fmt: skip
LARGEST = 5000  # pixels


class Trail(Visit, frozen=True):
    """The hidden state.

    Attributes:
        taken: What the agent did since the first page: whoever does it again comes to this state.
    """

    taken: tuple[ToolCall, ...] = ()


class LiveEnvironment(PageEnvironment):
    """Base of environments on pages that have scripts.

    Elements that only scripts make clickable are numbered like any other control, and so are shapes and empty boxes, whose
    colour, size and place on the page are said. What is in frames and shadow trees is not read. A state is returned to by opening
    the first page and doing the same again; its key, a hash of the whole document, has to be the one that was left.
    """

    state: Trail
    _backend: Tab | None = None

    @abstractmethod
    async def open(self, task: Task) -> View:
        """Open the task's first page in `self.tab`, as if nobody had been there before."""

    @property
    def tab(self) -> Tab:
        """Where the agent is.

        Raises:
            EnvironmentFailure: it was closed.
        """
        if self._backend is None:
            raise EnvironmentFailure("the browser was closed in the middle of an episode")
        return self._backend

    def begin(self, task: Task) -> Any:
        """The task's first page."""
        return self._begun(task)

    async def _begun(self, task: Task) -> Sequence[Message]:
        view = await self.open(task)
        self.state = Trail(view, self._known())
        return system(self.instructions), user(f"{task.prompt}\n\n{self._seen()}".lstrip())

    # ---- what the agent may do ---------------------------------------------------------------------------------------------

    @tool
    async def press(self, key: Key) -> str:
        """Press a key."""
        return self._moved(await self._acting.press(self.state.view, key))

    @tool
    async def click_at(self, x: int, y: int) -> str:
        """Click a point of the page; use it where no element can be named.

        Args:
            x: Pixels from the left.
            y: Pixels from the top.
        """
        return await self._drag((x, y), (x, y))

    @tool
    async def drag(self, x: int, y: int, to_x: int, to_y: int) -> str:
        """Drag what is at one point of the page to another.

        Args:
            x: Pixels from the left, where it is.
            y: Pixels from the top, where it is.
            to_x: Pixels from the left, where it shall be.
            to_y: Pixels from the top, where it shall be.
        """
        return await self._drag((x, y), (to_x, to_y))

    @tool
    async def wait(self) -> str:
        """Wait a second for something that takes time."""
        return self._moved(await self._acting.wait())

    async def _drag(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        if not all(0 <= place <= LARGEST for place in (*start, *end)):
            raise ToolError(f"a place on the page is 0 to {LARGEST}")
        return self._moved(await self._acting.drag(start, end))

    @property
    def _acting(self) -> Tab:
        if self._answer is not None:
            raise ToolError("the task has ended")
        return self.tab

    def _stays(self, address: str) -> bool:
        return True

    def _known(self) -> Saved:
        return Saved(self.tab.key, b"")

    # ---- states ------------------------------------------------------------------------------------------------------------

    async def acall_tool(self, call: ToolCall) -> ToolResult:
        """Run a call, and note it for those who return."""
        result = await super().acall_tool(call)
        self.state = msgspec.structs.replace(self.state, taken=(*self.state.taken, call))
        return result

    async def arestore(self, snapshot: Snapshot) -> None:
        """Return to a state by doing the same again.

        Raises:
            EnvironmentFailure: the state that came back is not the one that was left.
        """
        await super().arestore(snapshot)
        taken = self.state.taken
        await self._begun(self.task)
        for call in taken:
            await self.acall_tool(call)
        self._answer = None
        if self.state_key() != snapshot.key:
            raise EnvironmentFailure(f"{len(taken)} actions led to another state than before")

    async def aclose(self) -> None:
        """Close the tab."""
        tab, self._backend = self._backend, None
        if tab is not None:
            await tab.aclose()
