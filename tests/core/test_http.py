"""The HTTP client against a real server: every fault is survived, nothing is asked too often, no key leaks."""

import asyncio
import random
import time
import traceback
from collections import Counter
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from agentgym import SamplerFailure, UserError
from agentgym.sampling import Usage
from agentgym.sampling.http import Endpoint, _seconds
from tests.core.faulty_server import FAULTS, Fault, Server, Status

KEY = "sk-very-secret-123"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "base_delay", 0.005)


def echo(body: Any) -> Any:
    return {"echo": body}


async def ask(faults: list[Fault], **options: Any) -> tuple[Any, Server, Usage]:
    """One request; the answer or the error that came of it."""
    usage = Usage()
    async with Server(echo, faults) as server:
        endpoint = Endpoint(server.url, headers=HEADERS, usage=usage, **options)
        try:
            answer = await endpoint.post("/ask", {"n": 1})
        except (SamplerFailure, UserError) as error:
            answer = error
        finally:
            await endpoint.close()
    return answer, server, usage


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_that_may_pass_is_survived(fault: Fault) -> None:
    answer, server, usage = asyncio.run(ask([fault, fault]))
    assert answer == {"echo": {"n": 1}}
    assert server.bodies == [{"n": 1}] * 3
    assert usage == Usage(retries=2)


def test_a_hanging_server_is_asked_again_and_a_slow_one_is_not() -> None:
    answer, server, usage = asyncio.run(ask(["hang", "slow"], timeout=0.6))
    assert answer == {"echo": {"n": 1}}
    assert usage.retries == 1
    assert len(server.bodies) == 2


@pytest.mark.parametrize("fault", [*FAULTS, "hang"], ids=str)
def test_nothing_is_asked_more_often_than_allowed(fault: Fault) -> None:
    error, server, usage = asyncio.run(ask([fault] * 9, attempts=3, timeout=0.1 if fault == "hang" else 9))
    assert isinstance(error, SamplerFailure)
    assert f"{server.url}/ask was asked 3 times" in str(error)
    assert len(server.bodies) == 3
    assert usage.retries == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_the_server_cannot_serve_is_not_repeated(status: int) -> None:
    error, server, usage = asyncio.run(ask([Status(status, text="maximum context length is 8 tokens, not {key}")]))
    assert isinstance(error, SamplerFailure)
    assert f"{status} " in str(error)
    assert "maximum context length is 8 tokens" in str(error)
    assert len(server.bodies) == 1
    assert usage.retries == 0


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "key"), (403, "key"), (404, "model"), (405, "URL"), (402, "key"), (307, "URL")]
)
def test_a_wrong_configuration_stops_the_run(status: int, remedy: str) -> None:
    error, server, _ = asyncio.run(ask([Status(status)]))
    assert isinstance(error, UserError)
    assert server.url in str(error)
    assert "no luck" in str(error)
    assert remedy in str(error).split(";")[-1]
    assert len(server.bodies) == 1


@pytest.mark.parametrize("fault", [Status(s, text="not {key}") for s in (400, 401, 500)], ids=str)
def test_no_error_text_holds_the_key(fault: Fault) -> None:
    error, server, _ = asyncio.run(ask([fault] * 2, attempts=2))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "not Bearer ***" in str(error)
    assert KEY not in "".join(traceback.format_exception(error))


def test_a_malformed_answer_is_asked_for_again_and_shown_without_the_key() -> None:
    async def go() -> None:
        usage = Usage()
        async with Server(lambda body: {"n": 5}, ["shape", "", "shape", "shape"]) as server:
            endpoint = Endpoint(server.url, headers=HEADERS, attempts=2, usage=usage)
            assert await endpoint.post("ask", {}, lambda raw: msgspec.convert(raw.get("n", raw), int)) == 5
            with pytest.raises(SamplerFailure, match=r"malformed answer \(Expected `int`, got `object`\).*Bearer \*\*\*"):
                await endpoint.post("ask", {}, lambda raw: msgspec.convert(raw, int))
            await endpoint.close()
        assert usage.retries == 2
        assert len(server.bodies) == 4

    asyncio.run(go())


def test_two_hundred_at_once_with_random_faults_are_not_mixed_up() -> None:
    tries: Counter[int] = Counter()

    def fault_of(body: Any) -> Fault:
        dice = random.Random(f"{body['n']}/{tries[body['n']]}")
        tries[body["n"]] += 1
        return dice.choice(FAULTS) if dice.random() < 0.2 else ""

    async def go() -> None:
        usage = Usage()
        async with Server(echo, fault_of=fault_of) as server:
            endpoint = Endpoint(server.url, usage=usage)
            answers = await asyncio.gather(*(endpoint.post("ask", {"n": n}) for n in range(200)))
            await endpoint.close()
        assert answers == [{"echo": {"n": n}} for n in range(200)]
        assert usage.retries == server.faulted > 20
        assert max(tries.values()) > 2

    asyncio.run(go())


def test_when_the_server_says_wait_all_requests_wait() -> None:
    async def go() -> None:
        async with Server(echo, [Status(429, "0.4")]) as server:
            endpoint = Endpoint(server.url, usage=Usage())
            first = asyncio.create_task(endpoint.post("ask", 0))
            while not endpoint._not_before:
                await asyncio.sleep(0.01)
            await asyncio.gather(first, *(endpoint.post("ask", n) for n in range(5)))
            await endpoint.close()
        assert len(server.times) == 7
        assert all(t - server.times[0] >= 0.4 for t in server.times[1:])

    asyncio.run(go())


def test_a_server_that_wants_to_be_left_alone_for_long_is_not_waited_for() -> None:
    async def go() -> None:
        async with Server(echo, [Status(429, "86400")]) as server:
            endpoint = Endpoint(server.url, usage=Usage())
            for _ in range(2):
                with pytest.raises(SamplerFailure, match="wants no requests for 86400 s"):
                    await endpoint.post("ask", 0)
            await endpoint.close()
        assert len(server.bodies) == 1

    asyncio.run(go())


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _seconds("7") == 7
    assert _seconds("0.25") == 0.25
    assert 28 <= _seconds(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") < 0
    assert _seconds("") == _seconds("soon") == _seconds("nan") == 0


def test_the_limiter_keeps_to_its_rate() -> None:
    async def go() -> None:
        async with Server(echo, [Status(500)]) as server:
            endpoint = Endpoint(server.url, requests_per_minute=1200, usage=Usage())
            began = time.monotonic()
            await asyncio.gather(*(endpoint.post("ask", n) for n in range(9)))
            await endpoint.close()
        assert len(server.times) == 10  # a retry needs a slot too
        assert all(t - began >= 0.05 * i - 0.001 for i, t in enumerate(server.times))
        assert server.times[-1] - began < 2

    asyncio.run(go())


def test_a_server_that_is_not_there() -> None:
    async def go() -> None:
        async with Server(echo) as server:
            pass
        usage = Usage()
        endpoint = Endpoint(server.url, attempts=2, usage=usage)
        with pytest.raises(SamplerFailure, match=r"/v1/models was asked 2 times.*Cannot connect"):
            await endpoint.get("models")
        assert usage.retries == 1
        await endpoint.close()

    asyncio.run(go())


def test_a_server_that_comes_back_after_dying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "longest_delay", 0.1)

    async def go() -> None:
        async with Server(echo, ["hang"] * 4) as server:
            usage = Usage()
            endpoint = Endpoint(server.url, attempts=40, usage=usage)
            asked = [asyncio.create_task(endpoint.post("ask", n)) for n in range(4)]
            while len(server.bodies) < 4:
                await asyncio.sleep(0.01)
            await server.stop()  # with all four under way
            await asyncio.sleep(0.2)
            await server.start()
            assert await asyncio.gather(*asked) == [{"echo": n} for n in range(4)]
            assert usage.retries >= 4
            await endpoint.close()

    asyncio.run(go())


def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async def go() -> None:
        async with Server(echo, ["hang", ""]) as server:
            usage = Usage()
            endpoint = Endpoint(server.url, usage=usage)
            asked = asyncio.create_task(endpoint.post("ask", 1))
            while not server.bodies:
                await asyncio.sleep(0.01)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert await endpoint.get("ask") == {"echo": None}
            assert usage == Usage()
            await endpoint.close()

    asyncio.run(go())


def test_closing_fails_who_waits() -> None:
    async def go() -> None:
        async with Server(echo, ["hang"]) as server:
            endpoint = Endpoint(server.url, usage=Usage())
            asked = asyncio.create_task(endpoint.post("ask", 1))
            while not server.bodies:
                await asyncio.sleep(0.01)
            await endpoint.close()
            with pytest.raises(SamplerFailure, match="was closed"):
                await asked

    asyncio.run(go())


def test_an_endpoint_outlives_its_loop() -> None:
    server = Server(echo)
    endpoint: Endpoint | None = None

    async def go(last: bool) -> None:
        nonlocal endpoint
        async with server:
            endpoint = endpoint or Endpoint(server.url, usage=Usage())
            assert await asyncio.gather(*(endpoint.post("ask", n) for n in range(3))) == [{"echo": n} for n in range(3)]
            if last:
                await endpoint.close()

    asyncio.run(go(False))
    asyncio.run(go(True))


@pytest.mark.parametrize("url", ["", "localhost:8000/v1", "ftp://host/v1", "http://", "http://me:secret@host/v1"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(UserError, match="has to look like") as caught:
        Endpoint(url, usage=Usage())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"timeout": 0}, {"requests_per_minute": 0}])
def test_what_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="at least 1"):
        Endpoint("http://host/v1", usage=Usage(), **wrong)
