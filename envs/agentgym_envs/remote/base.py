"""What environments on servers of others share: a connection for each episode, states that are returned to by the same calls."""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import msgspec

from agentgym import AsyncEnvironment, EnvironmentFailure, Message, Snapshot, Task, Tasks, ToolCall, ToolSet, UserError, assistant
from agentgym.tasks import check_split
from agentgym.tools import ToolResult
from agentgym_envs.code.rows import Row, tasks_of

Check = Callable[[str, dict[str, Any], list[dict[str, Any]]], Any]
SUFFIXES = (".jsonl", ".json")


class Connected(AsyncEnvironment):
    """Base of environments whose tools are found on a server when an episode begins.

    Attributes:
        state: What was done and what came of it: ``name``, ``arguments``, ``result``, ``error`` (texts have no name). A state is
            returned to by beginning anew and doing the same again, and has to be the same.
    """

    max_turns = 50
    state: list[dict[str, Any]]

    async def connect(self, task: Task) -> tuple[ToolSet, str | Sequence[Message]]:
        """Open a fresh connection, list the tools, and return them with the opening.

        Raises:
            EnvironmentFailure: that failed.
        """
        raise NotImplementedError

    async def disconnect(self) -> None:
        """Close the connection, if there is one."""

    @cached_property
    def tools(self) -> ToolSet:
        """Those of the connection; none before the first episode."""
        return ToolSet()

    async def begin(self, task: Task) -> str | Sequence[Message]:  # type: ignore[override]  # awaited by its base
        """Connect anew."""
        await self.disconnect()
        self.state = []
        self.tools, opening = await self.connect(task)
        return opening

    async def acall_tool(self, call: ToolCall) -> ToolResult:
        """Run one call and write it down."""
        result = await super().acall_tool(call)
        said = {"name": call.name, "arguments": call.arguments, "result": result.message.content, "error": result.error}
        self.state.append(said)
        return result

    async def arestore(self, snapshot: Snapshot) -> None:
        """Connect anew and do the same again.

        Raises:
            EnvironmentFailure: the server answered otherwise than before.
        """
        await self.areset(seed=snapshot.rng[0], options={"task": snapshot.task})
        for done in snapshot.state:
            if done["name"]:
                await self.acall_tool(ToolCall(done["name"], done["arguments"], "again"))
            else:
                await self.reply(assistant(done["arguments"]["content"]))
        if (key := self.state_key()) != snapshot.key:
            raise EnvironmentFailure(f"the same actions came to state {key}, not {snapshot.key}: the server answered otherwise")
        await super().arestore(snapshot)

    async def aclose(self) -> None:
        """Close the connection."""
        await self.disconnect()


class Instructed(Connected):
    """Tasks in words for tools of others, with a check of one's own or none.

    Args:
        instructions: What to do: the words themselves, or a file of JSON lines, each with a ``prompt`` and, if you like, an
            ``id``, a ``split`` (by default train) and a ``difficulty``; whatever else it has is for the check.
        check: ``FILE.py:FUNCTION``, called as ``function(answer, task, calls)`` with the final answer, the task's line and all
            calls (``name``, ``arguments``, ``result``, ``error``). It returns a number in [0, 1], or several by name. Without it
            nobody says what an episode was worth: no reward is claimed.

    Raises:
        UserError: no such file or function.
    """

    def __init__(self, instructions: str, check: str | None = None) -> None:
        self._source, self.judged = instructions, check is not None
        self._check = None if check is None else _function(check)

    def tasks(self, split: str = "train") -> Tasks:
        """The lines of the file; the one instruction is a training task."""
        if self._source.endswith(SUFFIXES):
            return tasks_of(self._source, _task, split)
        return Tasks.of([Task(self._source)] if check_split(split) == "train" else [])

    def score(self, answer: str) -> Mapping[str, float]:
        """What the check says.

        Raises:
            EnvironmentFailure: the check raised, or said something that is no reward.
        """
        if self._check is None:
            return {}
        try:
            said = self._check(answer, {"prompt": self.task.prompt, "id": self.task.id, **self.task.data}, self.state)
            return {k: float(v) for k, v in (said if isinstance(said, Mapping) else {"correct": said}).items()}
        except Exception as error:
            raise EnvironmentFailure(f"the check of task {self.task.id} raised {type(error).__name__}: {error}") from error


def _task(row: Row, split: str) -> Task:
    data = {k: v for k, v in row.items() if k not in ("prompt", "id", "split", "difficulty")}
    named = hashlib.blake2b(msgspec.json.encode((row["prompt"], data), order="deterministic"), digest_size=8).hexdigest()
    where = check_split(row.get("split") or split or "train")
    return Task(row["prompt"], data, str(row.get("id", named)), where, str(row.get("difficulty", "")))


@lru_cache(maxsize=8)
def _function(place: str) -> Check:
    """The function that ``FILE.py:FUNCTION`` names."""
    file, _, name = place.rpartition(":")
    path = Path(file)
    spec = importlib.util.spec_from_file_location(f"agentgym_check_{path.stem}", path) if path.suffix == ".py" else None
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"there is no check {place!r}: write FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found: Check = getattr(module, name)
    except Exception as error:
        raise UserError(f"the check {place!r} cannot be loaded: {type(error).__name__}: {error}") from error
    return found
