"""The JSON client against a server that goes wrong in every way we know."""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from agentgym import RefusedFailure, SamplerFailure, UserError
from agentgym.sampling import Usage
from agentgym.sampling.http import Endpoint
from tests.core.fake_server import KEY, FakeServer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "base_delay", 0.005)
    monkeypatch.setattr(Endpoint, "longest_delay", 0.02)


def endpoint(server: FakeServer, **options: Any) -> Endpoint:
    return Endpoint(server.url, **{"headers": {"Authorization": f"Bearer {KEY}"}, "timeout": 30, "usage": Usage()} | options)


def patience(fault: str) -> float:
    """Short only where nobody will answer: a busy machine takes its time to."""
    return 0.5 if fault == "hang" else 30


async def until(holds: Callable[[], Any]) -> None:
    """Wait for what will be so soon."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


async def posted(server: FakeServer, *bodies: Any, **options: Any) -> tuple[list[Any], int]:
    """Answers or errors to all bodies, sent at once, and the number of retries."""
    client = endpoint(server, **options)
    try:
        answers = await asyncio.gather(*(client.post("/x", b) for b in bodies), return_exceptions=True)
    finally:
        await client.close()
    assert all(KEY not in repr(a) for a in answers)
    assert all(a.__cause__ is a.__context__ is None for a in answers if isinstance(a, Exception))
    return answers, client._usage.retries


FAULTS = ["408", "409", "425", "429", "500", "502", "503", "529", "truncated", "reset", "hang", "nojson", "notext"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_survived_and_counted(fault: str) -> None:
    async def go() -> None:
        async with FakeServer(faults=[fault, fault]) as server:
            assert await posted(server, {"n": 1}, timeout=patience(fault)) == ([{"n": 1}], 2)
            assert server.bodies == [{"n": 1}] * 3

    asyncio.run(go())


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_asked_more_often_than_attempts(fault: str) -> None:
    async def go() -> None:
        async with FakeServer(faults=[fault] * 9) as server:
            (error,), retries = await posted(server, 1, attempts=3, timeout=patience(fault))
            assert isinstance(error, SamplerFailure)
            assert f"POST {server.url}/x failed 3 times, at last with" in str(error)
            assert (len(server.bodies), retries) == (3, 2)
            if fault == "hang":
                assert str(error).endswith("no answer within 0.5 s")
            elif fault.isdigit():
                assert str(error).endswith(f"status {fault}: refused: Bearer ***")

    asyncio.run(go())


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        ("400", RefusedFailure, "refused with status 400: refused"),
        ("413", RefusedFailure, "refused"),
        ("422", RefusedFailure, "refused"),
        ("401", UserError, "give the right API key"),
        ("402", UserError, "credit"),
        ("403", UserError, "API key"),
        ("404", UserError, "model's name"),
        ("405", UserError, "check the base URL"),
        ("418", UserError, "check the base URL"),
        ("307", UserError, "check the base URL"),
    ],
)
def test_a_refusal_is_not_asked_again(status: str, kind: type[Exception], says: str) -> None:
    async def go() -> None:
        async with FakeServer(faults=[status]) as server:
            (error,), retries = await posted(server, 1)
            assert type(error) is kind
            assert says in str(error)
            assert (len(server.bodies), retries) == (1, 0)

    asyncio.run(go())


def test_long_answers_are_cut_in_errors() -> None:
    client = Endpoint("http://localhost", headers={"A": f"Bearer {KEY}", "B": ""}, usage=Usage())
    assert client._public(f"a\n{KEY} b") == "a *** b"
    assert len(client._public("x" * 490 + KEY * 10)) <= 503
    assert KEY[:5] not in client._public("x" * 490 + KEY * 10)


@pytest.mark.parametrize("status", ["429", "503"])
def test_retry_after_holds_all_requests(status: str) -> None:
    async def go() -> None:
        async with FakeServer(faults=[f"{status}:0.25"]) as server:
            client = endpoint(server)
            first = asyncio.create_task(client.post("/x", 1))
            await until(lambda: client._not_before > 0)
            assert await asyncio.gather(first, client.post("/x", 2), client.post("/x", 3)) == [1, 2, 3]
            assert sorted(server.bodies) == [1, 1, 2, 3]
            assert all(t - server.times[0] >= 0.24 for t in server.times[1:])
            assert client._usage.retries == 1
            await client.close()

    asyncio.run(go())


def test_retry_after_may_be_a_date_and_is_no_longer_than_the_timeout() -> None:
    client = Endpoint("http://localhost", timeout=50, usage=Usage())

    def held(retry_after: str) -> float:
        client._not_before = 0.0
        client._hold(retry_after)
        return client._not_before - time.monotonic()

    soon = datetime.now(UTC) + timedelta(seconds=20)
    assert 18 < held(format_datetime(soon, usegmt=True)) <= 20
    assert 49 < held("3600") <= 50
    assert 49 < held(format_datetime(soon.replace(year=2100, day=1), usegmt=True)) <= 50
    for nothing in ("", "soon", "nan", "inf", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert held(nothing) <= 0
    client._hold("20")
    client._hold("1")
    assert client._not_before - time.monotonic() > 19


def test_a_dead_server_is_a_failure_and_one_that_comes_back_is_not() -> None:
    async def go() -> None:
        server = FakeServer()
        async with server:
            assert (await posted(server, 1))[0] == [1]
        (error,), retries = await posted(server, 1, attempts=4)
        assert isinstance(error, SamplerFailure)
        assert "ClientConnectorError" in str(error)
        assert retries == 3

        client = endpoint(server, attempts=1000)
        waiting = asyncio.create_task(client.post("/x", "late"))
        await until(lambda: client._usage.retries > 1)
        async with server:
            assert await waiting == "late"
        async with server:  # its connections are gone, the client still thinks that it has one
            assert await client.post("/x", "again") == "again"
            await client.close()

    asyncio.run(go())


def test_many_requests_with_faults_get_each_its_own_answer() -> None:
    chance = random.Random(3)
    programme = [chance.choice([*FAULTS, "slow"]) if chance.random() < 0.2 else "" for _ in range(600)]

    async def go() -> None:
        async with FakeServer(lambda body: {"square": body["n"] ** 2}, programme) as server:
            bodies = [{"n": n, "padding": "x" * chance.randrange(5000)} for n in range(200)]
            answers, retries = await posted(server, *bodies, attempts=10, timeout=5)
            assert answers == [{"square": n**2} for n in range(200)]
            assert retries == len(server.bodies) - 200
            assert retries == sum(f not in ("", "slow") for f in programme[: len(server.bodies)]) > 20

    asyncio.run(go())


def test_the_rate_is_kept_by_retries_too() -> None:
    async def go() -> None:
        async with FakeServer(faults=["", "500", "429:0.1"]) as server:
            began = time.monotonic()
            answers, retries = await posted(server, *range(10), requests_per_minute=60 * 50)
            assert (answers, retries, len(server.times)) == (list(range(10)), 2, 12)
            assert all(t - began >= i * 0.02 - 0.005 for i, t in enumerate(server.times))  # late on a busy machine, never early

    asyncio.run(go())


def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async def go() -> None:
        async with FakeServer(faults=["hang", "500:9"]) as server:
            client = endpoint(server, timeout=20)
            within: list[Callable[[], bool]] = [lambda: len(server.bodies) == 1, lambda: client._not_before > 0]
            for moment in within:  # the request, and the wait that the server asked for
                asked = asyncio.create_task(client.post("/x", 1))
                await until(moment)
                asked.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asked
            client._not_before = 0.0
            assert await client.post("/x", 2) == 2
            assert len(server.bodies) == 3
            await client.close()
            assert not [t for t in asyncio.all_tasks() if "Endpoint" in repr(t)]

    asyncio.run(go())


def test_get_has_no_body_and_a_wrong_shape_is_malformed() -> None:
    async def go() -> None:
        async with FakeServer(lambda body: {"body": body}, ["nojson"]) as server:
            client = endpoint(server, attempts=2)
            assert await client.get("/models") == {"body": None}
            with pytest.raises(SamplerFailure, match="failed 2 times, at last with ValidationError: Expected `array`"):
                await client.post("/x", 1, list[int])
            assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
            await client.close()
            assert await client.get("/models") == {"body": None}  # a closed endpoint opens again
            await client.close()

    asyncio.run(go())


# The first loop is gone and cannot close its sockets any more; Python does that and says so.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_endpoint_moves_to_a_new_loop() -> None:
    client = Endpoint("http://127.0.0.1:9", timeout=1, usage=Usage())

    async def go(last: bool) -> None:
        async with FakeServer() as server:
            client.url = server.url
            assert await asyncio.gather(*(client.post("/x", n) for n in range(5))) == list(range(5))
            if last:
                await client.close()

    for last in (False, True):
        asyncio.run(go(last))


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://u:p@host", "http://[::1", "http://host:x", "http://h/v1?k=v"]
)
def test_a_wrong_url_is_the_users_error(url: str) -> None:
    with pytest.raises(UserError, match="URL has to look like"):
        Endpoint(url, usage=Usage())


@pytest.mark.parametrize("options", [{"attempts": 0}, {"timeout": 0}, {"requests_per_minute": 0}])
def test_numbers_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="above 0"):
        Endpoint("http://localhost", usage=Usage(), **options)
