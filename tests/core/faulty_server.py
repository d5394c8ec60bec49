"""A real HTTP server in the test's own loop that does wrong what its programme says, then answers rightly."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Status:
    """Answers with this status; `text` stands in the error, the request's Authorization header in place of ``{key}``."""

    status: int
    retry_after: str = ""
    text: str = "no luck"


Fault = str | Status
FAULTS: tuple[Fault, ...] = (
    "truncated",
    "disconnect",
    "reset",
    "no json",
    "empty",
    "not utf-8",
    *(Status(s) for s in (408, 409, 425, 429, 500, 502, 503, 529)),
    Status(429, "0.05"),
    Status(503, "0.05"),
)
Answer = Callable[[Any], Any]


class Server:
    """Usable as an async context manager; may be stopped and started again on the same port.

    Args:
        answer: From the decoded body to what is answered as JSON.
        faults: One for each request, in order of arrival; "" is none. Then there are no more faults.
        fault_of: Says the fault from the body instead.
    """

    def __init__(self, answer: Answer, faults: Iterable[Fault] = (), fault_of: Callable[[Any], Fault] | None = None) -> None:
        self.answer, self.faults = answer, iter(faults)
        self.fault_of = fault_of or (lambda body: next(self.faults, ""))
        self.bodies: list[Any] = []
        self.headers: list[Any] = []
        self.times: list[float] = []
        self.port = 0
        self.faulted = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/v1/{path:.*}", self._handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.05, access_log=None, handler_cancellation=True)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, backlog=512).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        await self.runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.times.append(time.monotonic())
        body = await request.json() if request.can_read_body else None
        self.bodies.append(body)
        self.headers.append(request.headers)
        fault = self.fault_of(body)
        self.faulted += bool(fault)
        if isinstance(fault, Status):
            text = fault.text.replace("{key}", request.headers.get("Authorization", ""))
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return web.json_response({"error": {"message": text}}, status=fault.status, headers=headers)
        return await self._misbehave(request, fault, body)

    async def _misbehave(self, request: web.Request, fault: str, body: Any) -> web.StreamResponse:
        assert request.transport is not None
        if fault in ("slow", "hang"):
            await asyncio.sleep(0.1 if fault == "slow" else 60)
        elif fault in ("no json", "empty", "not utf-8"):
            return web.Response(body={"no json": b'{"choices": [', "empty": b"", "not utf-8": b'{"a": "\xff"}'}[fault])
        elif fault == "shape":
            return web.json_response({"choices": [], "key": request.headers.get("Authorization", "")})
        elif fault == "truncated":
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"choices": ')
            request.transport.close()
            return response
        elif fault:
            if fault == "reset":  # a RST instead of a FIN
                peer = request.transport.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        return web.json_response(self.answer(body))
