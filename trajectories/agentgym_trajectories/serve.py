"""Any environment of ours behind OpenEnv's protocol (as of openenv 0.10), each WebSocket with an instance of its own.

======================  ====================================================================================================
``/ws``                 ``reset`` (``seed``, and ``task`` or ``split`` with ``index``), ``step``, ``state``, ``close``
``/health /metadata``   that it lives, and what it is
``/schema``             JSON schemas of actions, observations and state
``/list_environments``  its name; below ``/NAME/``: ``splits``, ``num_tasks``, ``task``, ``task_range`` (OpenEnv's Task API)
======================  ====================================================================================================

An action is a call of a tool (``{"type": "call_tool", "tool_name": ..., "arguments": ...}``), the request for their list
(``{"type": "list_tools"}``), or an assistant's message in the OpenAI shape (``content``, ``tool_calls``), which can do all that
an agent can: several calls at once, and words. Observations have ``messages`` and ``tools``, and in ``metadata`` what `step`
tells beside. An agent's mistakes are data here as everywhere; what the environment does wrong is an error of the protocol, and
the next ``reset`` begins in a new instance.

Environments live where their kind belongs (`agentgym_trajectories.hosts`): one that waits or computes holds up no other.
"""

import random
import secrets
from contextlib import closing, suppress
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from agentgym import AgentGymError, Failure, Message, Observation, Task, ToolCall, UserError, assistant, make
from agentgym.env import StepResult
from agentgym.messages import from_openai, to_openai
from agentgym.tasks import SPLITS
from agentgym.tools import to_json
from agentgym_trajectories.hosts import Host, Hosts

MAX_BYTES = 100 * 2**20
_ACTION = {
    "title": "Action",
    "description": "A tool's call (type, tool_name, arguments), or an assistant's message (content, tool_calls).",
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["call_tool", "list_tools", "message"]},
        "tool_name": {"type": "string"},
        "arguments": {"type": "object"},
        "content": {"type": "string"},
        "tool_calls": {"type": "array", "items": {"type": "object"}},
        "metadata": {"type": "object"},
    },
}
_LISTS = {"type": "array", "items": {"type": "object"}}
_OBSERVATION = {"title": "Observation", "type": "object", "properties": {"messages": _LISTS, "tools": _LISTS}}
_STATE = {
    "title": "State",
    "type": "object",
    "properties": {"episode_id": {"type": "string"}, "step_count": {"type": "integer"}, "state_key": {"type": "string"}},
}


class WrongRequestError(Exception):
    """A client sent what is none of the protocol's messages.

    Args:
        code: OpenEnv's word for it.
        text: What is wrong.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class OpenEnvServer:
    """See the module.

    Args:
        env: Id of the environment.
        env_args: Its arguments.
        sessions: How many at once; more are refused.

    Raises:
        UserError: there is no such environment.
    """

    def __init__(self, env: str, env_args: dict[str, Any], sessions: int = 1000) -> None:
        self.name = env.replace("/", "-")
        self._hosts, self._limit, self._active = Hosts(env, env_args), sessions, 0
        with closing(make(env, **env_args)) as probe:
            self.splits = {split: probe.tasks(split) for split in SPLITS}
            self._described = (type(probe).__doc__ or env).partition("\n")[0]
            self._find = probe.find_task

    def app(self) -> web.Application:
        """The server's routes, for any runner of aiohttp's."""
        app = web.Application(client_max_size=MAX_BYTES)
        app.add_routes([web.get("/ws", self._session), web.get("/health", _says({"status": "healthy"}))])
        about = {"name": self.name, "description": self._described, "version": "0"}
        app.add_routes([web.get("/metadata", _says(about)), web.get("/list_environments", _says([self.name]))])
        app.router.add_get("/schema", _says({"action": _ACTION, "observation": _OBSERVATION, "state": _STATE}))
        splits = [{"name": split, "type": split} for split, tasks in self.splits.items() if len(tasks)]
        app.router.add_get(f"/{self.name}/splits", _says(splits))
        for path in ("num_tasks", "task", "task_range"):
            app.router.add_post(f"/{self.name}/{path}", self._task_api)
        return app

    def task(self, asked: dict[str, Any]) -> Task:
        """The task that a reset asks for; without ``task`` and ``index``, one that follows from the seed.

        Raises:
            UserError: there is none.
        """
        if asked.get("task") is not None:
            return self._find(str(asked["task"]))
        split = asked.get("split") or "train"
        tasks = self.splits.get(split)
        if tasks is None or not len(tasks):
            raise UserError(
                f"there are no tasks in split {split!r}: use one of {', '.join(s for s in SPLITS if len(self.splits[s]))}"
            )
        index = asked.get("index")
        if index is None:
            index = random.Random(asked["seed"]).randrange(min(len(tasks), 2**31))
        if not isinstance(index, int) or not 0 <= index < len(tasks):
            raise UserError(f"split {split!r} has no task {index!r}: it has {len(tasks)}")
        return tasks[index]

    async def _task_api(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
            tasks = self.splits[asked["split"]]
            if request.path.endswith("/num_tasks"):
                return _json({"num_tasks": len(tasks)})
            if request.path.endswith("/task"):
                return _json({"task": _shown(tasks[range(len(tasks))[asked["index"]]], asked["index"])})
            chosen = range(len(tasks))[asked.get("start") : asked.get("stop")][:10_000]
            return _json({"tasks": [_shown(tasks[i], i) for i in chosen]})
        except (msgspec.DecodeError, LookupError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"no such task: {error}") from error

    async def _session(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_BYTES)
        await socket.prepare(request)
        if self._active >= self._limit:
            await _send(socket, "error", {"message": f"there are {self._limit} sessions already", "code": "CAPACITY_REACHED"})
            await socket.close()
            return socket
        self._active += 1
        session = Session(self, self._hosts)
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT or not await _answer(socket, session, message.data):
                    break
        finally:
            self._active -= 1
            await session.close()
        await socket.close()
        return socket


class Session:
    """One client's episodes, one after the other.

    Args:
        server: Knows the tasks.
        hosts: Make environments.
    """

    def __init__(self, server: OpenEnvServer, hosts: Hosts) -> None:
        self._server, self._hosts = server, hosts
        self._host: Host | None = None
        self._episode, self._key, self._steps = "", "", 0
        self._tools: tuple[dict[str, Any], ...] | None = None

    async def answer(self, kind: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The type and data of the answer to one message.

        Raises:
            WrongRequestError: that is none of the protocol's messages.
            AgentGymError: it cannot be done, or the environment broke.
        """
        if kind == "reset":
            return "observation", await self._reset(data)
        if kind == "step":
            return "observation", await self._step(data)
        if kind == "state":
            return "state", {"episode_id": self._episode, "step_count": self._steps, "state_key": self._key}
        raise WrongRequestError("UNKNOWN_TYPE", f"there is no message {kind!r}: send reset, step, state or close")

    async def close(self) -> None:
        """Close the environment."""
        host, self._host = self._host, None
        if host is not None:
            await host.close()

    async def _reset(self, data: dict[str, Any]) -> dict[str, Any]:
        seed = data.get("seed")
        seed = secrets.randbits(31) if seed is None else int(seed)
        task = self._server.task({**data, "seed": seed})
        self._host = self._host or await self._hosts.open()
        try:
            observation, self._key = await self._host.reset(seed, task)
        except Failure:
            await self.close()
            raise
        self._episode, self._steps, self._tools = str(data.get("episode_id") or task.id), 0, observation.tools
        return _seen(observation, None, False, {"task": task.id})

    async def _step(self, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("type") == "list_tools":
            if self._tools is None:
                await self._reset({"split": next(s for s in SPLITS if len(self._server.splits[s])), "index": 0})
            return {"observation": {"tools": list(map(_described, self._tools or ()))}, "reward": None, "done": False}
        action = _action(data)
        if self._host is None:
            raise UserError("there is no episode: send reset first")
        try:
            outcome, self._key = await self._host.step(action)
        except Failure:
            await self.close()
            raise
        self._steps += 1
        return self._outcome(outcome, data)

    def _outcome(self, outcome: StepResult, data: dict[str, Any]) -> dict[str, Any]:
        observation, reward, terminated, truncated, info = outcome
        judged = not terminated or info["success"] is not None
        more = {"truncated": truncated, "success": info.get("success"), "rewards": info["rewards"], "errors": info["errors"]}
        seen = _seen(observation, float(reward) if judged else None, terminated or truncated, {"task": info["task"], **more})
        if data.get("type") == "call_tool":
            wrong = info["errors"] and observation.messages[0].content.removeprefix("Error: ")
            told = {"error_type": "execution_error", "message": wrong} if wrong else None
            result = None if wrong else "\n".join(m.content for m in observation.messages)
            seen["observation"] |= {"tool_name": data["tool_name"], "result": result, "error": told}
        return seen


async def _answer(socket: web.WebSocketResponse, session: Session, text: str) -> bool:
    """Answer one message. Returns whether the session goes on."""
    try:
        try:
            asked = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise WrongRequestError("INVALID_JSON", f"that is no JSON object: {error}") from error
        if asked.get("type") == "close":
            return False
        data = asked.get("data") or {}
        if not isinstance(data, dict):
            raise WrongRequestError("VALIDATION_ERROR", "data is an object")
        await _send(socket, *await session.answer(str(asked.get("type", "")), data))
    except WrongRequestError as error:
        await _send(socket, "error", {"message": str(error), "code": error.code})
    except (AgentGymError, TypeError, ValueError) as error:
        await _send(socket, "error", {"message": f"{type(error).__name__}: {error}", "code": "EXECUTION_ERROR"})
    return True


async def _send(socket: web.WebSocketResponse, kind: str, data: dict[str, Any]) -> None:
    with suppress(ConnectionError):  # the client has gone
        await socket.send_str(to_json({"type": kind, "data": data}))


def _action(data: dict[str, Any]) -> Message:
    """An action as a message.

    Raises:
        WrongRequestError: it is none.
    """
    if data.get("type") == "call_tool":
        name, arguments = data.get("tool_name"), data.get("arguments", {})
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise WrongRequestError("VALIDATION_ERROR", "a call has a tool_name and arguments, which are an object")
        return assistant("", ToolCall(name, arguments))
    try:
        if not ("content" in data or "tool_calls" in data):
            raise ValueError("it has neither content nor tool_calls")
        return from_openai({"role": "assistant", "content": data.get("content"), "tool_calls": data.get("tool_calls")})
    except (TypeError, ValueError, AttributeError) as error:
        raise WrongRequestError("VALIDATION_ERROR", f"that is no action: {error}") from error


def _seen(observation: Observation, reward: float | None, done: bool, metadata: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"messages": [to_openai(m, json_arguments=True) for m in observation.messages]}
    shown |= {"tools": observation.tools, "metadata": metadata}
    return {"observation": shown, "reward": reward, "done": done, "metadata": metadata}


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    function = schema["function"]
    return {"name": function["name"], "description": function["description"], "input_schema": function["parameters"]}


def _shown(task: Task, index: int) -> dict[str, Any]:
    """A task without its data, which no agent sees."""
    return {"id": task.id, "index": index, "split": task.split, "prompt": task.prompt, "difficulty": task.difficulty}


def _json(value: Any) -> web.Response:
    return web.Response(text=to_json(value), content_type="application/json")


def _says(value: Any) -> Any:
    async def handler(_: web.Request) -> web.Response:
        return _json(value)

    return handler
