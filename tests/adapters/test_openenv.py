"""Our environments on our OpenEnv server, played by OpenEnv's own client and by ours; OpenEnv's own servers as environments."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agentgym import EnvironmentFailure, Message, ToolCall, UserError, assistant, call, make, register
from agentgym.checks import check_env
from agentgym.connect.openenv import OpenEnvClient
from agentgym.messages import to_openai
from agentgym.sampling import SampleRequest, Scripted
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.serve import OpenEnvServer
from tests.benchmarks import peers
from tests.conftest import oracle_episode
from tests.trajectories.crash_env import Fragile

PEER = Path(__file__).with_name("openenv_peer.py")
PYTHON = peers.VENVS / "openenv" / "bin" / "python"
real = pytest.mark.skipif(not PYTHON.exists(), reason="make peers")


@contextmanager
def running(app: web.Application) -> Iterator[str]:
    """An application on a free port of this machine, in a thread."""
    loop, over, address = asyncio.new_event_loop(), asyncio.Event(), ""
    ready = threading.Event()

    async def serve() -> None:
        nonlocal address
        runner = web.AppRunner(app, shutdown_timeout=5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@contextmanager
def theirs() -> Iterator[list[str]]:
    """OpenEnv's own servers: tools, words and numbers."""
    with ExitStack() as free:
        ports = [free.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)]
    process = subprocess.Popen([PYTHON, PEER, "serve", *map(str, ports)])
    try:
        for port in ports:
            wait_for(port, process)
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(2000):
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None
            time.sleep(0.1)
    pytest.fail("OpenEnv's server does not start")


def gold(env: str, count: int) -> Iterator[tuple[Any, list[Message], Any]]:
    ours = make(env)
    for task in ours.tasks()[:count]:
        episode = oracle_episode(ours, task)
        yield task, [m for n in episode.nodes if n.kind == "action" for m in n.messages], episode.nodes[-1]


@real
def test_openenvs_own_client_plays_our_environment() -> None:
    asked, expected = [], []
    for i, (task, actions, last) in enumerate(gold("desk/Orders-v0", 6)):
        chosen = {"task": task.id} if i % 2 else {"split": "train", "index": i, "seed": 3}
        said: list[Any] = [to_openai(m, json_arguments=True) for m in actions]
        if i > 2:  # the other form of an action, where it can say the same
            said = [
                {"type": "call_tool", "tool_name": m.tool_calls[0].name, "arguments": m.tool_calls[0].arguments}
                if m.tool_calls
                else {"content": m.content}
                for m in actions
            ]
        asked.append(json.dumps({"reset": chosen, "actions": said}))
        expected.append([task.prompt, True, last.reward, len(actions), True])
    with running(OpenEnvServer("desk/Orders-v0", {}).app()) as url:
        done = subprocess.run([PYTHON, PEER, "client", url], input="\n".join(asked), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *played, tools, refused = map(json.loads, done.stdout.splitlines())
    assert [[p[0][-1], *p[1:]] for p in played] == expected
    assert tools == [t.name for t in make("desk/Orders-v0").tools]
    assert "VALIDATION_ERROR" in refused


@pytest.mark.parametrize("env", ["desk/Orders-v0", "games/KeyDoor-v0"])
def test_our_client_sees_through_our_server_what_the_environment_says(env: str) -> None:
    ours = make(env)
    with running(OpenEnvServer(env, {}).app()) as url:
        there = make("remote/OpenEnv-v0", url=url)
        try:
            assert len(there.tasks("test")) == len(ours.tasks("test"))
            for i, (task, actions, _) in enumerate(gold(env, 5)):
                here, far = ours.reset(seed=1, options={"task": task})[0], there.reset(seed=1, options={"task": f"train-{i}"})[0]
                assert here.messages == far.messages
                assert [t["function"]["name"] for t in here.tools] == [t["function"]["name"] for t in far.tools]
                for j, action in enumerate(actions):
                    if i == 2 and j == 1:
                        kept = there.snapshot()
                        there.step(assistant("", call("no_such_tool")))
                        there.restore(kept)
                    one, other = ours.step(action), there.step(action)
                    assert [m.content for m in one[0].messages] == [m.content for m in other[0].messages]
                    assert one[1:4] == other[1:4]
                assert one[4]["success"] is other[4]["success"] is True
            there.reset(options={"task": "train-0"})
            mistake = there.step(assistant("", ToolCall(next(iter(ours.tools)).name, {"no": 1})))
            assert mistake[4]["errors"] in (("extra_argument",), ("missing_argument",))
        finally:
            there.close()


def test_a_remote_environment_keeps_the_promises_of_all() -> None:
    with running(OpenEnvServer("games/KeyDoor-v0", {"level": "easy"}).app()) as url:
        checks = check_env("remote/OpenEnv-v0", tasks=2, url=url)
    assert not [c for c in checks if not c.ok]


@real
def test_openenvs_own_servers_are_environments_of_ours() -> None:
    def policy(request: SampleRequest) -> Message:
        last = request.messages[-1].content
        if request.tools and request.tools[0]["function"]["name"] == "add":
            return assistant("", call("add", amount=5))
        if request.tools:
            number = int(last.rstrip(".").split()[-1])
            return assistant("", call("act", low=0 if number % 2 else 90, high=99))
        return assistant(last.removeprefix("Say ").rstrip(".") if last.startswith("Say") else "odd")

    async def played(url: str, count: int) -> Memory:
        sink = Memory()
        args = {"url": url, "system": "Do it."}
        tasks = make("remote/OpenEnv-v0", **args).tasks()[:count]
        await Rollout("remote/OpenEnv-v0", args, concurrency=4, attempts=1).run(tasks, Scripted(policy), sink)
        assert not sink.failures
        return sink

    with theirs() as (till, words, numbers):
        (episode,) = asyncio.run(played(till, 1)).episodes
        (only,) = episode.trajectories()
        assert [m.content for m in only.messages if m.role in ("system", "tool")] == ["Do it.", "15"]
        assert [(a.reward, a.success) for a in only.actions] == [(0.5, None), (1.0, True)]
        found = [next(e.trajectories()) for e in asyncio.run(played(words, 6)).episodes]
        assert all(t.success and t.reward == 1.0 for t in found)
        assert {t.messages[1].content for t in found} == {"Say even.", "Say odd."}
        found = [next(e.trajectories()) for e in asyncio.run(played(numbers, 9)).episodes]
        judged = {t.episode.task.id: t.leaf.success for t in found}
        assert judged == {"train-0": None, "train-1": True, "train-2": False, "train-3": True, "train-4": False}
        assert [len(make("remote/OpenEnv-v0", url=numbers).tasks(s)) for s in ("train", "validation", "test")] == [5, 0, 2]


def test_what_the_environment_does_wrong_is_an_error_of_the_protocol_and_a_failure() -> None:
    register("test/Fragile-v0", Fragile)
    with running(OpenEnvServer("test/Fragile-v0", {"broken": 1.0}).app()) as url:
        args = {"url": url}
        sink = Memory()
        tasks = make("remote/OpenEnv-v0", **args).tasks()[:2]
        sampler = Scripted(lambda r: assistant("", call(r.tools[0]["function"]["name"])))
        progress = asyncio.run(Rollout("remote/OpenEnv-v0", args, attempts=1).run(tasks, sampler, sink))
    assert (progress.failed, sink.episodes) == (2, [])
    assert all(type(f) is EnvironmentFailure and "EXECUTION_ERROR" in str(f) for _, _, f in sink.failures)


def test_servers_that_are_gone_silent_or_odd_are_failures() -> None:
    async def odd(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        asked = (await ws.receive_json())["data"]
        if asked["how"] == "silent":
            await asyncio.sleep(1)
        if asked["how"] == "junk":
            await ws.send_str("[]")
        if asked["how"] == "empty":
            await ws.send_str('{"type": "observation", "data": {}}')
        return ws

    async def failing(_: web.Request) -> web.Response:
        return web.Response(status=500)

    app = web.Application()
    app.router.add_get("/ws", odd)
    app.router.add_get("/list_environments", failing)

    async def asked(url: str, how: str) -> dict[str, Any]:
        client = OpenEnvClient(url, 0.5)
        try:
            return await client.ask("reset", {"how": how})
        finally:
            await client.close()

    with running(app) as url:
        for how, text in (("silent", "no answer within 0.5 s"), ("ends", "it ended the session"), ("junk", "indices must be")):
            with pytest.raises(EnvironmentFailure, match=text):
                asyncio.run(asked(url, how))
        with pytest.raises(EnvironmentFailure, match="HTTP Error 500"):
            make("remote/OpenEnv-v0", url=url).tasks()
    with pytest.raises(EnvironmentFailure, match="Cannot connect"):
        asyncio.run(asked("http://127.0.0.1:9", ""))
    with pytest.raises(UserError, match="no address"):
        make("remote/OpenEnv-v0", url="localhost")


def test_the_server_says_what_is_wrong_and_how_many_it_takes() -> None:
    async def talk(url: str) -> list[Any]:
        said: list[Any] = []
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws") as one:
            for text in (
                "{",
                '{"type": "dance"}',
                '{"type": "step", "data": {"content": "x"}}',
                '{"type": "step", "data": {"type": "call_tool", "tool_name": 1}}',
                '{"type": "step", "data": []}',
                '{"type": "reset", "data": {"split": "none"}}',
                '{"type": "reset", "data": {"index": -1}}',
                '{"type": "reset", "data": {"task": "none"}}',
                '{"type": "step", "data": {"type": "list_tools"}}',
                '{"type": "reset", "data": {"seed": 5}}',
                '{"type": "reset", "data": {"seed": 5}}',
                '{"type": "state"}',
            ):
                await one.send_str(text)
                answer = await one.receive_json()
                said.append(answer["data"].get("code") or answer)
            async with http.ws_connect(f"{url}/ws") as two:
                said.append((await two.receive_json())["data"]["code"])
            for path, body in (("splits", None), ("num_tasks", {"split": "test"}), ("task", {"split": "train", "index": 1})):
                name = f"{url}/games-KeyDoor-v0/{path}"
                async with http.get(name) if body is None else http.post(name, json=body) as found:
                    said.append(await found.json())
            async with http.post(f"{url}/games-KeyDoor-v0/task_range", json={"split": "train", "start": 2, "stop": 4}) as found:
                said.append([t["index"] for t in (await found.json())["tasks"]])
            async with http.post(f"{url}/games-KeyDoor-v0/task", json={"split": "no"}) as found:
                said.append(found.status)
            await one.send_str('{"type": "close"}')
            assert (await one.receive()).type is aiohttp.WSMsgType.CLOSE
        return said

    with running(OpenEnvServer("games/KeyDoor-v0", {}, sessions=1).app()) as url:
        *errors, listed, first, again, state, full, splits, size, task, some, wrong = asyncio.run(talk(url))
    assert errors == ["INVALID_JSON", "UNKNOWN_TYPE", "EXECUTION_ERROR", *["VALIDATION_ERROR"] * 2, *["EXECUTION_ERROR"] * 3]
    assert [t["name"] for t in listed["data"]["observation"]["tools"]] == ["look", "take", "unlock", "go"]
    assert first == again
    assert (state["data"]["step_count"], full, wrong) == (0, "CAPACITY_REACHED", 400)
    assert [s["name"] for s in splits] == ["train", "validation", "test"]
    assert size["num_tasks"] == sys.maxsize
    assert (task["task"]["id"], some) == ("train-1", [2, 3])
    assert "data" not in task["task"]


def test_serve_is_a_command() -> None:
    script = "import typer; from agentgym_trajectories.cli_serve import serve; typer.run(serve)"
    command = [sys.executable, "-c", script, "--env", "games/KeyDoor-v0", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next(w for w in line.split() if w.startswith("http")).rstrip("/")
        assert OpenEnvClient(url).look_up("/health") == {"status": "healthy"}
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()
