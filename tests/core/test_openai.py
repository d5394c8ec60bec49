"""The chat completions sampler: shapes in both directions, counts, costs, and whole rollouts over a server that fails."""

import asyncio
import json
import random
import re
import sys
from collections.abc import Sequence
from typing import Any

import pytest

import agentgym
from agentgym import Environment, Message, RefusedFailure, SamplerFailure, Task, Tasks, ToolCall, UserError, assistant, call, tool
from agentgym.messages import system, user
from agentgym.sampling import Sample, SampleRequest
from agentgym.sampling.http import Endpoint
from agentgym.sampling.named import open_sampler
from agentgym.sampling.openai import OpenAISampler
from agentgym_trajectories.rollout import Memory, Rollout
from tests.core.fake_server import KEY, FakeServer

TOOLS = [{"type": "function", "function": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}}]


class Sums(Environment):
    """Add four numbers, other ones in each task, so that mixed-up answers are wrong answers."""

    instructions = "Add the numbers one after the other with the tool, then answer with the sum."

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(f"Add {i}, 2, 3, {i * i}.", {"sum": i + 5 + i * i}, f"{split}-{i}", split), range(1000))

    @tool
    def add(self, a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    def score(self, answer: str) -> dict[str, float]:
        return {"correct": float(answer == str(self.task.data["sum"]))}


agentgym.register("test/Adding-v0", Sums)


@pytest.fixture(autouse=True)
def _alone_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "base_delay", 0.005)
    monkeypatch.setattr(Endpoint, "longest_delay", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def completion(message: dict[str, Any], finish: str = "stop", **usage: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, "logprobs": None}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage or None}


def function_call(name: str, arguments: Any, id: str | None = None) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


async def sampled(server: FakeServer, requests: Sequence[SampleRequest], **options: Any) -> tuple[list[Sample], OpenAISampler]:
    sampler = OpenAISampler("m", server.url + "/v1", **options)
    try:
        return await sampler.sample(requests), sampler
    finally:
        await sampler.close()


def turn(message: dict[str, Any], finish: str = "stop") -> Sample:
    """What the sampler makes of the server's message."""

    async def go() -> Sample:
        async with FakeServer(lambda _: completion(message, finish)) as server:
            (sample,), _ = await sampled(server, [SampleRequest([user("hi")], [])])
            return sample

    return asyncio.run(go())


def test_what_the_server_receives() -> None:
    turns = [
        system("s"),
        user("u"),
        assistant("both", call("f", x=[1, "é"]), call("g"), thinking="hm"),
        Message("tool", "1", tool_call_id="call00000", name="f"),
        Message("tool", "2", tool_call_id="call00001", name="g"),
        assistant("", ToolCall("f", None, "c9", "{broken")),
    ]

    async def go() -> None:
        async with FakeServer(lambda _: completion({"content": "ok"})) as server:
            requests = [SampleRequest(turns, TOOLS, seed=7), SampleRequest([user("u")], [], seed=8)]
            await sampled(server, requests, api_key=f" {KEY}\n", max_tokens=50, temperature=0.3, extra={"seed": 1, "top_p": 0.5})
            assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
            body, plain = sorted(server.bodies, key=lambda b: -len(b["messages"]))
            assert "tools" not in plain
            assert "tool_choice" not in body
            assert body["tools"] == TOOLS
            wanted = {"model": "m", "temperature": 0.3, "max_completion_tokens": 50, "seed": 1, "top_p": 0.5}
            assert {k: body[k] for k in wanted} == wanted
            first, second, third = body["messages"][2], body["messages"][3], body["messages"][5]
            assert first["reasoning_content"] == "hm"
            assert [(c["id"], c["type"], c["function"]["name"]) for c in first["tool_calls"]] == [
                ("call00000", "function", "f"),
                ("call00001", "function", "g"),
            ]
            assert [json.loads(c["function"]["arguments"]) for c in first["tool_calls"]] == [{"x": [1, "é"]}, {}]
            assert second == {"role": "tool", "content": "1", "tool_call_id": "call00000", "name": "f"}
            assert third["tool_calls"][0]["function"]["arguments"] == "{}"

    asyncio.run(go())


def test_seeds_are_sent_and_limits_are_the_servers_own_by_default() -> None:
    async def go() -> None:
        async with FakeServer(lambda b: completion({"content": str(b["seed"])})) as server:
            requests = [SampleRequest([user("u")], [], seed=2**32 - 1 - n) for n in range(20)]
            samples, sampler = await sampled(server, requests)
            assert [s.message.content for s in samples] == [str(r.seed) for r in requests]
            assert "max_completion_tokens" not in server.bodies[0]
            assert "Authorization" not in server.headers[0]
            assert sampler.version == samples[0].version == "m@127.0.0.1"
            assert (samples[0].token_ids, samples[0].logprobs, sampler.chat, sampler.context) == (None,) * 4

    asyncio.run(go())


def test_what_comes_back() -> None:
    plain = turn({"content": "hello", "reasoning_content": "a", "refusal": None})
    assert (plain.message, plain.finish) == (assistant("hello", thinking="a"), "stop")
    assert turn({"content": None, "reasoning": "b"}, "length") == Sample(
        assistant(thinking="b"), finish="length", version="m@127.0.0.1"
    )
    parallel = [function_call("f", '{"x": 1}', "a"), function_call("g", '{"y": "2"}'), function_call("h", {"z": 3}, "c")]
    assert turn({"content": None, "tool_calls": parallel}, "tool_calls").message.tool_calls == (
        ToolCall("f", {"x": 1}, "a", '{"x": 1}'),
        ToolCall("g", {"y": "2"}, "call00001", '{"y": "2"}'),
        ToolCall("h", {"z": 3}, "c"),
    )
    for raw in ('{"x": 1', "[1]", "", "x=1", '{"a":' * 5000):
        assert turn({"tool_calls": [function_call("f", raw, "a")]}).message == assistant("", ToolCall("f", None, "a", raw))


WRONG: list[Any] = [
    {},
    [],
    "text",
    {"choices": []},
    {"choices": None},
    {"choices": [{}]},
    {"choices": [{"message": None}]},
    {"choices": [{"message": {"content": 5}}]},
    {"choices": [{"message": {"tool_calls": [{"id": "a"}]}}]},
    {"choices": [{"message": {"tool_calls": [{"function": {"name": None}}]}}]},
    {"error": {"message": "overloaded"}},
]


def test_none_leaves_out_a_field_that_the_server_refuses() -> None:
    async def go() -> None:
        async with FakeServer(lambda _: completion({"content": "a"})) as server:
            extra = {"max_completion_tokens": None, "max_tokens": 5, "seed": None}
            await sampled(server, [SampleRequest([user("u")], [])], max_tokens=5, extra=extra)
            assert set(server.bodies[0]) == {"model", "temperature", "messages", "max_tokens"}

    asyncio.run(go())


def test_an_error_inside_of_a_good_status_is_shown_without_the_key() -> None:
    async def go() -> None:
        async with FakeServer(lambda _: {"error": f"credit of {KEY} is used up"}) as server:
            with pytest.raises(SamplerFailure, match=r"missing required field `choices` in .*credit of \*\*\* is used up"):
                await sampled(server, [SampleRequest([user("u")], [])], api_key=KEY)

    asyncio.run(go())


def test_wrong_shapes_are_asked_for_again() -> None:
    async def go() -> None:
        answers = [*WRONG, completion({"content": "at last"})]
        async with FakeServer(lambda _: answers[len(server.bodies) - 1]) as server:
            sampler = OpenAISampler("m", server.url)
            sampler.endpoint._attempts = len(answers)
            (sample,) = await sampler.sample([SampleRequest([user("u")], [])])
            assert sample.message.content == "at last"
            assert (sampler.usage.retries, sampler.usage.requests) == (len(WRONG), 1)
            await sampler.close()
        async with FakeServer(faults=["shape"] * 9) as server:
            with pytest.raises(SamplerFailure, match="failed 6 times, at last with ValidationError"):
                await sampled(server, [SampleRequest([user("u")], [])])
            assert len(server.bodies) == 6

    asyncio.run(go())


@pytest.mark.parametrize(("status", "kind"), [("400", SamplerFailure), ("401", UserError), ("404", UserError)])
def test_one_refusal_ends_the_call(status: str, kind: type[Exception]) -> None:
    async def go() -> None:
        async with FakeServer(faults=["hang", status]) as server:
            with pytest.raises(kind, match=status) as caught:
                await asyncio.wait_for(sampled(server, [SampleRequest([user("u")], [])] * 2, api_key=KEY), 30)
            assert KEY not in str(caught.value)

    asyncio.run(go())


def test_counts_and_costs() -> None:
    usages: list[Any] = [
        {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 640}},
        {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13, "prompt_tokens_details": None},
        {"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": None, "audio_tokens": 0}},
        {},
    ]

    async def go() -> None:
        async with FakeServer(lambda b: completion({"content": "x"}, **usages[b["seed"]]), faults=["500"]) as server:
            requests = [SampleRequest([user("u")], [], seed=n) for n in range(4)]
            _, sampler = await sampled(server, requests, prices=(2.5, 10.0))
            usage = sampler.usage
            assert (usage.requests, usage.prompt_tokens, usage.cached_tokens, usage.sampled_tokens) == (4, 1017, 640, 204)
            assert usage.retries == 1
            assert usage.cost == pytest.approx(0.0045825)  # 1017 * 2.5 / 1e6 + 204 * 10 / 1e6
            _, free = await sampled(server, requests)
            assert free.usage.cost == 0

    asyncio.run(go())


def add_next(body: dict[str, Any]) -> dict[str, Any]:
    """The next step of the sum, from nothing but the conversation."""
    numbers = [int(n) for n in re.findall(r"\d+", body["messages"][1]["content"])]
    results = [int(m["content"]) for m in body["messages"] if m["role"] == "tool"]
    done = len(results)
    if done == len(numbers) - 1:
        return completion({"content": str(results[-1])}, prompt_tokens=10, completion_tokens=1)
    total = results[-1] if results else numbers[0]
    arguments = json.dumps({"a": total, "b": numbers[done + 1]})
    call_ = function_call("add", arguments, f"id{done}")
    return completion({"content": None, "tool_calls": [call_]}, "tool_calls", prompt_tokens=10, completion_tokens=5)


def test_a_rollout_over_a_server_that_fails() -> None:
    chance = random.Random(5)
    kinds = ["429", "429:0.02", "500", "503", "truncated", "reset", "nojson", "shape", "slow", "400"]
    programme = [chance.choice(kinds) if chance.random() < 0.2 else "" for _ in range(2000)]
    programme[3] = "400"

    async def go() -> None:
        async with FakeServer(add_next, programme) as server:
            sampler, sink = OpenAISampler("m", server.url), Memory()
            plan = Rollout("test/Adding-v0", concurrency=16, attempts=20)
            progress = await plan.run(Sums().tasks()[:40], sampler, sink)
            await sampler.close()
            assert (progress.played, progress.failed) == (40, 0)
            assert len(sink.failures) == programme[: len(server.bodies)].count("400") > 0
            played = [t for e in sink.episodes for t in e.trajectories()]
            assert [(t.success, len(t.actions), t.errors) for t in played] == [(True, 4, ())] * 40
            answers = {e.task.id: t.messages[-1].content for e in sink.episodes for t in e.trajectories()}
            assert answers == {t.id: str(t.data["sum"]) for t in Sums().tasks()[:40]}
            assert sampler.usage.requests >= 160
            assert sampler.usage.retries > 20
            assert all(b["tools"][0]["function"]["name"] == "add" for b in server.bodies)

    asyncio.run(go())


@pytest.mark.parametrize(("finish", "kind"), [("error", SamplerFailure), ("content_filter", RefusedFailure)])
def test_a_turn_that_the_server_gave_up_is_no_answer(finish: str, kind: type[Exception]) -> None:
    async def go() -> None:
        async with FakeServer(lambda _: completion({"content": ""}, finish)) as server:
            sampler = OpenAISampler("m", server.url)
            with pytest.raises(kind):
                await sampler.sample([SampleRequest([user("x")], ())])
            await sampler.close()

    asyncio.run(go())


def test_conversations_that_are_refused_do_not_end_a_rollout() -> None:
    async def go() -> None:
        programme = ["", "", "", "", *["400"] * 20]  # the first episode is played, the next twenty are refused
        async with FakeServer(add_next, programme) as server:
            sampler, sink = OpenAISampler("m", server.url), Memory()
            progress = await Rollout("test/Adding-v0", concurrency=1, attempts=1).run(Sums().tasks()[:30], sampler, sink)
            await sampler.close()
            assert (progress.played, progress.failed) == (10, 20)

    asyncio.run(go())


def test_a_key_that_is_refused_stops_a_rollout() -> None:
    async def go() -> None:
        async with FakeServer(add_next, ["401"] * 100) as server:
            sampler = OpenAISampler("m", server.url, KEY)
            with pytest.raises(UserError, match="give the right API key"):
                await Rollout("test/Adding-v0", concurrency=4).run(Sums().tasks()[:40], sampler, Memory())
            assert len(server.bodies) <= 4
            await sampler.close()

    asyncio.run(go())


def test_keys_and_urls_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"api.openai.com needs an API key: set OPENAI_API_KEY"):
        OpenAISampler("m")
    for local in ("http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:8000/v1"):
        assert not OpenAISampler("m", local).endpoint._headers
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert OpenAISampler("m").endpoint.url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://teacher:1/v1/")
    sampler = OpenAISampler("m")
    assert (sampler.version, sampler.endpoint.url) == ("m@teacher", "http://teacher:1/v1")
    assert sampler.endpoint._headers == {"Authorization": f"Bearer {KEY}"}


def test_policies_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    named = open_sampler("openai:http://localhost:8000/v1#org/model", temperature=0.5, max_tokens=9)
    assert isinstance(named, OpenAISampler)
    assert (named.version, named.endpoint.url) == ("org/model@localhost", "http://localhost:8000/v1")
    assert named._settings == {"model": "org/model", "temperature": 0.5, "max_completion_tokens": 9}
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert open_sampler("openai:gpt-x").version == "gpt-x@api.openai.com"
    for wrong in (
        "openai:",
        "openai:http://localhost:8000/v1",
        "openai:http://localhost:8000/v1#",
        "openai:#m",
        "openai:localhost:8000/v1#m",
    ):
        with pytest.raises(UserError, match="names no model of a server: write `openai:MODEL` or"):
            open_sampler(wrong)
    for wrong in ("openai:http://#m", "openai:http://host:port/v1#m"):
        with pytest.raises(UserError, match="URL has to look like"):
            open_sampler(wrong)


def test_without_aiohttp_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for name in ("agentgym.sampling.http", "agentgym.sampling.openai"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"needs aiohttp: pip install 'agentgym\[openai\]'"):
        open_sampler("openai:m")
