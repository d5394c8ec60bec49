"""MCP servers written with the official SDK, over stdio and HTTP, used by agents; and servers that die, hang or lie."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp
import pytest

from agentgym import EnvironmentFailure, ToolCall, ToolError, ToolSet, UserError, assistant, call, make
from agentgym.checks import check_env
from agentgym.connect.mcp import McpServer, mcp_server
from agentgym.sampling import Scripted
from agentgym_trajectories.players import Deadlines
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store
from tests.commands import run
from tests.connect.agent import agent

GOOD = f"{sys.executable} {Path(__file__).with_name('servers.py')}"
FAULTY = f"{sys.executable} -S -E {Path(__file__).with_name('faulty.py')}"
CHECK = """
def score(answer, task, calls):
    return {"correct": answer == str(task["sum"]), "calls": len(calls) == 2 and not any(c["error"] for c in calls)}

def broken(answer, task, calls):
    return 1 / 0
"""


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    """The good server behind HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([*GOOD.split(), str(port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/mcp"
    process.kill()
    process.wait()


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    (tmp_path / "check.py").write_text(CHECK)
    (tmp_path / "tasks.jsonl").write_text(
        '{"prompt": "Add 2 and 3.", "sum": 5}\n{"prompt": "Add 2 and 4.", "sum": 5, "id": "bad"}\n'
    )
    return tmp_path


def adder(messages: list[dict[str, Any]]) -> Any:
    """Adds the numbers of the request one after the other, and answers with what the last tool said."""
    numbers = [int(w.strip(".")) for w in messages[0]["content"].split() if w.strip(".").isdigit()]
    results = [m["content"] for m in messages if m["role"] == "tool"]
    return results[-1] if len(results) == len(numbers) else [("add", {"amount": numbers[len(results)]})]


def test_collect_lets_an_agent_use_a_server_over_stdio_and_its_check_scores(tasks: Path) -> None:
    with agent(adder) as policy:
        done = run(
            *("collect", "--mcp", GOOD, "--instructions", tasks / "tasks.jsonl"),
            *("--check", f"{tasks / 'check.py'}:score", "--policy", policy, "--out", tasks / "run"),
        )
    assert (done["played"], done["failed"], done["success"]) == (2, 0, 0.5)
    with Store(tasks / "run") as store:
        first, second = sorted(store.trajectories(), key=lambda t: t.reward, reverse=True)
    assert [m.role for m in first.messages] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert first.leaf.rewards == {"correct": 1.0, "calls": 1.0}
    assert (second.episode.task.id, second.reward) == ("bad", 0.5)
    assert [t["function"]["name"] for t in first.episode.tools] == ["add", "note"]


def test_without_a_check_no_reward_is_claimed_over_http(http: str, tmp_path: Path) -> None:
    with agent(lambda m: [("note", {"text": "a", "tags": ["b"]})] if len(m) == 1 else f"It says {m[-1]['content']}") as policy:
        done = run("collect", "--mcp", http, "--instructions", "Write a note.", "--policy", policy, "--out", tmp_path / "run")
    assert (done["played"], done["success"], done["reward"]) == (1, None, None)
    with Store(tmp_path / "run") as store:
        (only,) = store.trajectories()
    assert only.messages[-1].content == "It says a ['b']"
    assert (only.judged, only.leaf.success, only.leaf.reward) == (False, None, None)
    assert run("select", tmp_path / "run", "--by", "reward:min=0")["dropped"] == {"reward: nobody said what it was worth": 1}
    run("export", tmp_path / "run", "--to", tmp_path / "run.jsonl")
    assert '"reward":null,"success":null' in (tmp_path / "run.jsonl").read_text().replace(" ", "")


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("gone", "it last wrote 'cannot open the till'"),
        ("mute", "no answer within 3 s"),
        ("junk", "no answer within 3 s"),
        ("schema", "the parameters of tool 'add' are no JSON schema"),
        ("reference", "it refers to 'https://example.invalid/amount.json'"),
        ("name", "'a b' is no name for a tool"),
        ("twice", "two tools share a name"),
        ("endless", "its list of tools has no end"),
        ("dies", "tool add: Connection closed; it last wrote 'out of paper'"),
        ("hangs", "tool add: no answer within 3 s"),
        ("refuses", "tool add: amount is no argument of mine"),
        ("output", "tool add: Invalid structured content returned by tool add"),
    ],
)
def test_a_server_that_dies_hangs_or_lies_is_a_failed_episode(mode: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentgym.connect.mcp.MAX_TOOLS", 5)
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 0.1)
    args = {"server": f"{FAULTY} {mode}", "instructions": "Add.", "seconds": 3.0 if reason.endswith("3 s") else 20.0}
    env = make("remote/Mcp-v0", **args)
    sink = Memory()
    sampler = Scripted(lambda _: assistant("", call("add", amount=1)))
    progress = asyncio.run(Rollout("remote/Mcp-v0", args, attempts=1).run(env.tasks(), sampler, sink))
    assert (progress.played, progress.failed, sink.episodes) == (0, 1, [])
    ((_, _, failure),) = sink.failures
    assert type(failure) is EnvironmentFailure
    assert reason in str(failure)


def test_a_dead_address_is_a_failed_episode_too() -> None:
    async def opened() -> None:
        await McpServer("http://127.0.0.1:9/mcp", 5).open()

    with pytest.raises(EnvironmentFailure, match=r"MCP server 'http://127\.0\.0\.1:9/mcp'"):
        asyncio.run(opened())


def test_what_the_agent_does_wrong_is_answered_and_states_are_returned_to() -> None:
    env = make("remote/Mcp-v0", server=f"{FAULTY} none", instructions="Add.")
    try:
        env.reset(seed=1, options={"task": "train-0"})
        for arguments, category in (
            ({}, "missing_argument"),
            ({"amount": "1"}, "ill_typed_argument"),
            ({"amount": 1, "b": 2}, "extra_argument"),
            ({"amount": -1}, "tool_error"),
        ):
            _, _, _, _, info = env.step(assistant("", ToolCall("add", arguments)))
            assert info["errors"] == (category,)
        assert env.step(assistant("", call("add", amount=2)))[0].messages[0].content == "2"
        kept = env.snapshot()
        assert env.step(assistant("", call("add", amount=5)))[0].messages[0].content == "7"
        env.restore(kept)
        assert env.state_key() == kept.key
        assert env.step(assistant("", call("add", amount=4)))[0].messages[0].content == "6"
        assert env.step("Done.")[4]["success"] is None
    finally:
        env.close()


@pytest.mark.parametrize(
    ("mode", "text"), [("parts", "[image image/png]\ninside\n[resource_link file:///b]"), ("structured", '{"sum":1}')]
)
def test_results_that_are_no_plain_text(mode: str, text: str) -> None:
    async def called() -> str:
        server = McpServer(f"{FAULTY} {mode}")
        tools = await server.open()
        result = await tools.acall(ToolCall("add", {"amount": 1}))
        await server.close()
        with pytest.raises(EnvironmentFailure, match="the session is over"):
            await tools.acall(ToolCall("add", {"amount": 1}))
        return result.message.content

    assert asyncio.run(called()) == text


def test_our_tools_are_served_and_come_back_as_they_were() -> None:
    def greet(name: str, times: int = 1) -> str:
        """Greet somebody.

        Args:
            name: Whom.
            times: How often.
        """
        if times > 3:
            raise ToolError("that is too often")
        return " ".join([f"Hello {name}."] * times)

    def smash() -> str:
        """Break."""
        raise EnvironmentFailure("it broke")

    ours = ToolSet([greet, smash])

    async def there_and_back() -> tuple[Any, ...]:
        async with mcp.Client(mcp_server(ours)) as client:
            listed = (await client.list_tools()).tools
            good = await client.call_tool("greet", {"name": "Ann", "times": 2})
            bad = await client.call_tool("greet", {"name": "Ann", "times": 4})
            wrong = await client.call_tool("greet", {})
            with pytest.raises(mcp.MCPError, match="it broke"):
                await client.call_tool("smash", {})
        return listed[0].input_schema, good, bad, wrong

    schema, good, bad, wrong = asyncio.run(there_and_back())
    assert schema == ours.schemas[0]["function"]["parameters"]
    assert (good.content[0].text, good.is_error) == ("Hello Ann. Hello Ann.", False)
    assert (bad.content[0].text, bad.is_error) == ("Error: that is too often", True)
    assert wrong.content[0].text == "Error: argument 'name' is missing"


def test_a_check_that_breaks_is_no_reward(tasks: Path) -> None:
    args = {"server": f"{FAULTY} none", "instructions": "Say hello.", "check": f"{tasks / 'check.py'}:broken"}
    env = make("remote/Mcp-v0", **args)
    sink = Memory()
    plan = Rollout("remote/Mcp-v0", args, attempts=1, deadlines=Deadlines(30))
    progress = asyncio.run(plan.run(env.tasks(), Scripted(lambda _: "Hello."), sink))
    assert progress.failed == 1
    assert "raised ZeroDivisionError" in str(sink.failures[0][2])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "--env ID or --mcp SERVER"),
        (("--env", "desk/Orders-v0", "--mcp", "python"), "--env ID or --mcp SERVER"),
        (("--env", "desk/Orders-v0", "--instructions", "x"), "belong to --mcp"),
        (("--mcp", "python x.py"), "--mcp needs --instructions"),
        (("--mcp", "no_such_program x", "--instructions", "x"), "there is no program 'no_such_program'"),
        (("--mcp", "'", "--instructions", "x"), "mind its quotes"),
        (("--mcp", sys.executable, "--instructions", "none.jsonl"), "there is no file none.jsonl"),
        (("--mcp", sys.executable, "--instructions", "x", "--check", "none.py:f"), "write FILE.py:FUNCTION"),
        (("--mcp", sys.executable, "--instructions", "x", "--check", f"{__file__}:none"), "cannot be loaded"),
    ],
)
def test_wrong_requests_are_one_clear_error(options: tuple[str, ...], text: str, tmp_path: Path) -> None:
    assert text in run("collect", *options, "--out", tmp_path / "run", code=2)["error"]
    assert not (tmp_path / "run").exists()


def test_a_server_keeps_the_promises_of_all_environments() -> None:
    checks = check_env("remote/Mcp-v0", tasks=1, server=f"{FAULTY} none", instructions="Add.")
    assert not [c for c in checks if not c.ok]


def test_nothing_is_measured_where_nobody_judges(tmp_path: Path) -> None:
    from agentgym_training.evaluate import evaluate
    from agentgym_training.rl.turns import turns_of

    args = {"server": f"{FAULTY} none", "instructions": "Say hello."}
    sink = Memory()
    asyncio.run(Rollout("remote/Mcp-v0", args).run(make("remote/Mcp-v0", **args).tasks(), Scripted(lambda _: "Hello."), sink))
    for judge in (evaluate, turns_of):
        with pytest.raises(UserError, match="claims no reward"):
            judge(sink.episodes)
