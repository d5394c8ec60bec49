"""An agent behind an OpenAI-compatible server on this machine, for commands that run in this process."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from tests.core.fake_server import FakeServer


@contextmanager
def agent(policy: Callable[[list[dict[str, Any]]], Any]) -> Iterator[str]:
    """Serve `policy`, from messages to a text or a list of calls (name, arguments); gives what `--policy` takes."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        said = policy(body["messages"])
        message: dict[str, Any] = {"role": "assistant", "content": said if isinstance(said, str) else None}
        if not isinstance(said, str):
            calls = [{"name": name, "arguments": msgspec.json.encode(arguments).decode()} for name, arguments in said]
            message["tool_calls"] = [{"id": f"c{i}", "type": "function", "function": c} for i, c in enumerate(calls)]
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    ready, over, server = threading.Event(), asyncio.Event(), FakeServer(answer)

    async def serve() -> None:
        async with server:
            ready.set()
            await over.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield f"openai:{server.url}/v1#m"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
