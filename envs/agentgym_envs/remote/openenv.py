"""``remote/OpenEnv-v0``: somebody else's OpenEnv server as an environment of ours."""

import asyncio
import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym import Action, EnvironmentFailure, Message, Task, Tasks, ToolError, ToolSet, UserError, user
from agentgym.connect.openenv import OpenEnvClient
from agentgym.connect.schema import SchemaTool
from agentgym.env import StepResult
from agentgym.messages import from_openai
from agentgym.tasks import SPLITS, check_split
from agentgym.tools import to_json

from .base import Connected


class OpenEnv(Connected):
    """Play an environment on an OpenEnv server, one session of it for each instance.

    Its tools are those that the server lists; where it lists none, its action's fields are the parameters of one tool ``act``,
    or an action of a single text is what the agent says. Its tasks are those of its Task API, or endless seeds.

    The reward of each step is the part ``reward``. An episode that the server ends with a reward of at least 1 is solved; one
    that it ends without any reward is judged by nobody; one that the agent leaves earns nothing more.

    Args:
        url: Of the server.
        system: A system message, since such a server has none.
        seconds: How long it may take for each answer.

    Raises:
        UserError: that is no address.
    """

    def __init__(self, url: str, system: str = "", seconds: float = 60.0) -> None:
        if not url.startswith(("http://", "https://", "ws://", "wss://")):
            raise UserError(f"{url!r} is no address of an OpenEnv server: give one such as http://localhost:8000")
        self.instructions = system
        self._client = OpenEnvClient(url, seconds)
        self._sizes: dict[str, int] | None = None
        self._offered: ToolSet | None = None
        self._text = ""  # the action's field that takes what the agent says
        self._earned: float | None = None  # in this turn

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the server's Task API, or seeds without end."""
        check_split(split)
        if self._sizes is None:
            self._sizes = self._count()
        if not self._sizes:
            return Tasks(
                lambda i: Task("", {"seed": zlib.crc32(f"{split}/{i}".encode())}, f"{split}-{i}", split), range(sys.maxsize)
            )
        return Tasks(lambda i: Task("", {"split": split, "index": i}, f"{split}-{i}", split), range(self._sizes[split]))

    async def connect(self, task: Task) -> tuple[ToolSet, str | Sequence[Message]]:
        """Find out once what actions look like, and reset the session."""
        self.judged = True
        if self._offered is None:
            self._offered = await self._find_tools()
        chosen = dict(task.data)
        if self._seed is not None and "seed" not in chosen:
            chosen["seed"] = self._seed % 2**31
        said = await self._client.ask("reset", chosen)
        seen = _observation(said)
        messages = seen.get("messages")
        opening = [from_openai(m) for m in messages] if messages else [user(_told(seen) or "Begin.")]
        if self.instructions:
            opening = [Message("system", self.instructions), *opening]
        return self._offered, opening

    async def disconnect(self) -> None:
        """The session is kept for the next episode: a server resets it."""

    async def aclose(self) -> None:
        """End the session."""
        await self._client.close()

    async def astep(self, action: Action) -> StepResult:
        """One turn, which may be several of the server's."""
        self._earned = None
        return await super().astep(action)

    async def reply(self, message: Message) -> Any:  # type: ignore[override]  # awaited by its base
        """Say it where the server takes words; elsewhere words end the episode."""
        if not self._text:
            return None
        seen = await self._step({self._text: message.content})
        told = [from_openai(m) for m in seen.get("messages") or ()] or _told(seen) or ()
        self.state.append({"name": "", "arguments": {"content": message.content}, "result": _told(seen), "error": None})
        return told

    def shape(self) -> Mapping[str, float]:
        """The reward of this turn, if it is not the last one."""
        return {"reward": self._earned or 0.0} if self._answer is None and self._earned is not None else {}

    def score(self, answer: str) -> Mapping[str, float]:
        """The reward of the last turn."""
        return {"reward": self._earned or 0.0}

    def _count(self) -> dict[str, int]:
        """How many tasks each split has; empty where the server has no Task API."""
        names = self._client.look_up("/list_environments") or []
        sizes: dict[str, int] = {}
        for name in names[:1]:
            listed = self._client.look_up(f"/{name}/splits") or []
            for split in {s["name"] for s in listed} & set(SPLITS):
                found = self._client.look_up(f"/{name}/num_tasks", {"split": split})
                sizes[split] = int(found["num_tasks"]) if found else 0
        return {split: sizes.get(split, 0) for split in SPLITS} if any(sizes.values()) else {}

    async def _find_tools(self) -> ToolSet:
        """The server's tools, and `_text` for its words."""
        schema = (await asyncio.to_thread(self._client.look_up, "/schema") or {}).get("action") or {}
        fields = {k: v for k, v in schema.get("properties", {}).items() if k != "metadata"}
        if "tool_name" in fields:
            try:
                listed = _observation(await self._client.ask("step", {"type": "list_tools"})).get("tools")
            except EnvironmentFailure:
                listed = None  # it knows calls, but no lists
            if listed is not None:
                self._text = "content" if "content" in fields else ""
                return ToolSet([self._tool(t) for t in listed])
        needed = schema.get("required") or list(fields)
        if len(needed) == 1 and fields[needed[0]].get("type") == "string":
            self._text = needed[0]
        if self._text or not fields:
            return ToolSet()

        async def act(**action: Any) -> str:
            return _result(await self._step(action))

        return ToolSet([SchemaTool("act", schema.get("description") or "Take an action.", {**schema, "properties": fields}, act)])

    def _tool(self, listed: dict[str, Any]) -> SchemaTool:
        async def function(**arguments: Any) -> str:
            return _result(await self._step({"type": "call_tool", "tool_name": listed["name"], "arguments": arguments}))

        schema = listed.get("input_schema") or listed.get("inputSchema") or {}
        try:
            return SchemaTool(listed["name"], listed.get("description") or "", schema, function)
        except ValueError as error:
            raise EnvironmentFailure(str(error)) from error

    async def _step(self, action: dict[str, Any]) -> dict[str, Any]:
        if self._answer is not None:
            raise ToolError("the episode is over")
        said = await self._client.ask("step", action)
        if said.get("reward") is not None:
            self._earned = (self._earned or 0.0) + float(said["reward"])
        if said.get("done"):
            self.judged = said.get("reward") is not None
            self.end()
        return _observation(said)


def _observation(said: dict[str, Any]) -> dict[str, Any]:
    """What an answer shows.

    Raises:
        EnvironmentFailure: that is none of OpenEnv's answers.
    """
    seen = said.get("observation")
    if not isinstance(seen, dict):
        raise EnvironmentFailure(f"an OpenEnv server answered without an observation: {to_json(said)[:200]}")
    return seen


def _result(seen: dict[str, Any]) -> str:
    """What an agent is told of its call.

    Raises:
        ToolError: the server says that the call was wrong.
    """
    if error := seen.get("error"):
        raise ToolError(str(error.get("message", error)) if isinstance(error, dict) else str(error))
    return _told(seen)


def _told(seen: dict[str, Any]) -> str:
    """The words of an observation: those of its messages, a tool's result, or whatever it shows."""
    if seen.get("messages"):
        return "\n".join(str(m.get("content") or "") for m in seen["messages"])
    shown = {k: v for k, v in seen.items() if k not in ("metadata", "messages", "tools", "tool_name", "error") and v is not None}
    value = shown["result"] if "result" in shown else next(iter(shown.values()), "") if len(shown) < 2 else shown
    if isinstance(value, dict) and isinstance(value.get("content"), list):  # as MCP gives results
        texts = [b["text"] for b in value["content"] if isinstance(b, dict) and "text" in b]
        value = "\n".join(texts) if texts else value
    return value if isinstance(value, str) else to_json(value)
