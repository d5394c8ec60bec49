"""The OpenAI sampler against a faulty server: structured both ways, counted to the token, and no episode spoilt."""

import asyncio
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

import agentgym
from agentgym import Environment, Message, SamplerFailure, Task, Tasks, ToolCall, UserError, assistant, call, system, tool, user
from agentgym.sampling import Sample, SampleRequest, Usage
from agentgym.sampling.http import Endpoint
from agentgym.sampling.named import open_sampler
from agentgym.sampling.openai import OPENAI, OpenAISampler
from agentgym_trajectories.rollout import Memory, Rollout
from tests.core.faulty_server import FAULTS, Fault, Server

TOOLS = [{"type": "function", "function": {"name": "add", "description": "Add.", "parameters": {"type": "object"}}}]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "base_delay", 0.005)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def completion(message: dict[str, Any], finish: str = "stop", **usage: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "refusal": None, **message}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion", "choices": [choice], "usage": usage or None}


def wanted(name: str, arguments: Any, call_id: str | None = "c1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def turn(
    answer: Any, *messages: Message, faults: Iterable[Fault] = (), tools: Any = TOOLS, **options: Any
) -> tuple[Sample, Any, Usage]:
    """One sampled turn, what the server received last, and the counts."""

    async def go() -> tuple[Sample, Any, Usage]:
        async with Server(lambda body: answer, faults) as server:
            sampler = OpenAISampler("m", base_url=server.url, **options)
            try:
                (sample,) = await sampler.sample([SampleRequest(messages or (user("hi"),), tools, seed=7)])
            finally:
                await sampler.close()
            assert sampler.version == f"m@127.0.0.1:{server.port}"
            return sample, server.bodies[-1], sampler.usage

    return asyncio.run(go())


def check_conversation(messages: list[dict[str, Any]]) -> None:
    """Fails unless the API would take these messages."""
    unanswered: list[str] = []
    for m in messages:
        assert m["role"] in ("system", "user", "assistant", "tool")
        assert isinstance(m["content"], str)
        if m["role"] == "tool":
            unanswered.remove(m["tool_call_id"])
            continue
        assert not unanswered
        for c in m.get("tool_calls", ()):
            assert m["role"] == "assistant"
            assert c["type"] == "function"
            assert isinstance(json.loads(c["function"]["arguments"]), dict)
            assert re.fullmatch(r"\w+", c["function"]["name"])
            unanswered.append(c["id"])
        assert len(set(unanswered)) == len(unanswered)


def test_what_is_sent() -> None:
    calls = assistant("Both.", call("add", a=1, b="ü"), call("add"), thinking="Hm.")
    broken = assistant("", ToolCall("add", None, "x9", "{oops"))
    answers = [Message("tool", "1", tool_call_id=f"call0000{i}", name="add") for i in range(2)]
    conversation = [
        system("Be good."),
        user("Add."),
        calls,
        *answers,
        broken,
        Message("tool", "no JSON", tool_call_id="x9", name="add"),
    ]
    _, body, _ = turn(completion({"content": "2"}), *conversation, temperature=0.5, max_tokens=99)
    check_conversation(body["messages"])
    assert {k: v for k, v in body.items() if k != "messages"} == {
        "model": "m",
        "temperature": 0.5,
        "max_completion_tokens": 99,
        "tools": TOOLS,
        "seed": 7,
    }
    assert body["messages"][2] == {
        "role": "assistant",
        "content": "Both.",
        "reasoning_content": "Hm.",
        "tool_calls": [wanted("add", '{"a":1,"b":"ü"}', "call00000"), wanted("add", "{}", "call00001")],
    }
    assert body["messages"][3] == {"role": "tool", "content": "1", "tool_call_id": "call00000", "name": "add"}


def test_extra_fields_are_merged_and_none_takes_one_out() -> None:
    extra = {"max_tokens": 5, "max_completion_tokens": None, "seed": None, "top_p": 0.9}
    _, body, _ = turn(completion({"content": "2"}), tools=(), extra=extra)
    assert set(body) == {"model", "temperature", "messages", "max_tokens", "top_p"}


def test_parallel_and_malformed_calls_come_back_structured() -> None:
    calls = [
        wanted("add", '{"a": 1}', "c1"),
        wanted("add", '{"a": 1', "c2"),
        wanted("add", "[1]", "c3"),
        wanted("sub", {"a": 2}, None),
    ]
    sample, _, _ = turn(completion({"content": None, "tool_calls": calls}, "tool_calls"))
    assert sample.message == assistant(
        "",
        ToolCall("add", {"a": 1}, "c1", '{"a": 1}'),
        ToolCall("add", None, "c2", '{"a": 1'),
        ToolCall("add", None, "c3", "[1]"),
        ToolCall("sub", {"a": 2}, "call00003"),
    )
    assert (sample.token_ids, sample.logprobs, sample.finish) == (None, None, "stop")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_are_kept(field: str) -> None:
    sample, _, _ = turn(completion({"content": "4", field: "2 and 2"}, "length"))
    assert sample.message == assistant("4", thinking="2 and 2")
    assert sample.finish == "length"


def test_the_bill() -> None:
    usage = {"prompt_tokens": 1200, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 1024}}
    _, _, counted = turn(completion({"content": "x"}, **usage), faults=["reset", "shape"], prices=(2.5, 10.0))
    assert counted == Usage(1, 1200, 1024, 300, retries=2, cost=pytest.approx(0.006))  # 0.003 to read, 0.003 to write
    _, _, counted = turn(completion({"content": "x"}, prompt_tokens=7, completion_tokens=1, prompt_tokens_details=None))
    assert counted == Usage(1, 7, 0, 1)


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"message": "upstream died"}},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": {"content": [1]}}]},
        {"choices": [{"message": {"tool_calls": [{"name": "add"}]}}]},
        [],
        None,
    ],
    ids=str,
)
def test_a_wrong_shape_is_asked_for_again_and_then_a_failure(answer: Any) -> None:
    with pytest.raises(SamplerFailure, match=r"asked 6 times.*malformed answer") as caught:
        turn(answer)
    assert json.dumps(answer) in str(caught.value)  # what the server said, for whoever has to mend it


def test_requests_of_one_call_run_at_once_and_fail_together() -> None:
    async def go() -> None:
        async with Server(lambda body: completion({"content": body["messages"][0]["content"]}), ["slow"] * 8) as server:
            sampler = OpenAISampler("m", base_url=server.url)
            samples = await sampler.sample([SampleRequest((user(str(n)),), ()) for n in range(8)])
            assert [s.message.content for s in samples] == [str(n) for n in range(8)]
            assert server.times[-1] - server.times[0] < 0.5  # one after the other, it would be 0.7
            server.faults = iter(["hang", "hang", "shape"] * 3)
            sampler._endpoint._attempts = 1
            with pytest.raises(SamplerFailure):
                await sampler.sample([SampleRequest((user("x"),), ())] * 3)
            assert sampler.usage.requests == 8
            await sampler.close()

    asyncio.run(go())


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"api\.openai\.com needs a key: set OPENAI_API_KEY"):
        OpenAISampler("gpt")
    for url in ("http://localhost:1/v1", "http://127.0.0.1:1/v1", "http://[::1]:1/v1"):
        assert OpenAISampler("m", base_url=url)._endpoint._headers == {}
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\n")
    sampler = OpenAISampler("gpt")
    assert sampler._endpoint.url == OPENAI
    assert sampler._endpoint._headers == {"Authorization": "Bearer sk-1"}
    assert OpenAISampler("gpt", api_key="sk-2")._endpoint._headers == {"Authorization": "Bearer sk-2"}
    for wrong in ({"max_tokens": 0}, {"temperature": -1.0}):
        with pytest.raises(UserError, match="at least"):
            OpenAISampler("gpt", **wrong)


def test_policy_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert open_sampler("openai:gpt").version == "gpt@api.openai.com"
    assert open_sampler("openai:http://h:1/v1#Qwen/Qwen3:8b", max_tokens=3).version == "Qwen/Qwen3:8b@h:1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://there:1/v1")
    assert open_sampler("openai:Qwen/Qwen3:8b").version == "Qwen/Qwen3:8b@there:1"
    for bad in ("openai:", "openai:http://h:1/v1", "openai:http://h:1/v1#", "openai:#m", "openai:h:1/v1#m"):
        with pytest.raises(UserError, match="is no policy: write openai:MODEL or"):
            open_sampler(bad)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("agentgym.sampling.openai", "agentgym.sampling.http"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(UserError, match=r"needs aiohttp: pip install 'agentgym\[openai\]'"):
        open_sampler("openai:m")


class Sums(Environment):
    """Add four numbers, another four for each task."""

    instructions = "Add the numbers one after the other, then answer with the sum."

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(f"Add {i}, 2, 3, {i * i}.", {"sum": i + 5 + i * i}, f"{split}-{i}", split), range(1000))

    @tool
    def add(self, a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    def score(self, answer: str) -> dict[str, float]:
        return {"correct": float(answer == str(self.task.data["sum"]))}


def adder(body: Any) -> Any:
    """Answers as a model that can add; the first call is malformed in every third task."""
    check_conversation(body["messages"])
    assert [t["function"]["name"] for t in body["tools"]] == ["add"]
    _, question, *turns = body["messages"]
    numbers = [int(n) for n in re.findall(r"\d+", question["content"])]
    totals = [m["content"] for m in turns if m["role"] == "tool" and m["content"].isdigit()]
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    if len(totals) == 3:
        return completion({"content": totals[-1]}, **usage)
    arguments = json.dumps({"a": int(totals[-1]) if totals else numbers[0], "b": numbers[len(totals) + 1]})
    if not turns and numbers[0] % 3 == 0:
        arguments = arguments[:-1]
    return completion({"content": None, "tool_calls": [wanted("add", arguments)]}, "tool_calls", **usage)


def test_a_rollout_over_a_faulty_server_is_complete_and_right() -> None:
    agentgym.register("test/Sums-v0", Sums)
    tries: Counter[str] = Counter()

    def fault_of(body: Any) -> Fault:
        key = json.dumps(body["messages"])
        dice = random.Random(f"{key}/{tries[key]}")
        tries[key] += 1
        return dice.choice([*FAULTS, "shape"]) if dice.random() < 0.2 else ""

    async def go() -> None:
        async with Server(adder, fault_of=fault_of) as server:
            sampler, sink = OpenAISampler("adder", base_url=server.url, prices=(1.0, 2.0)), Memory()
            progress = await Rollout("test/Sums-v0", concurrency=30).run(Sums().tasks()[:60], sampler, sink)
            await sampler.close()
        assert (progress.played, progress.failed, progress.attempts_failed) == (60, 0, 0)
        turns = 60 * 4 + 20
        assert sampler.usage == Usage(turns, turns * 10, 0, turns * 5, server.faulted, pytest.approx(turns * 20 / 1e6))
        assert server.faulted > 20
        for episode in sink.episodes:
            (trajectory,) = episode.trajectories()
            assert trajectory.success
            assert trajectory.leaf.messages[0].content == str(episode.task.data["sum"])
            assert trajectory.actions[0].token_ids is None
            malformed = [e for n in trajectory.actions for e in n.errors]
            assert len(malformed) == (int(episode.task.id.split("-")[1]) % 3 == 0)

    asyncio.run(go())
