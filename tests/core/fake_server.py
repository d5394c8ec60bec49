"""A JSON server on this machine that goes wrong as it is told."""

import asyncio
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

KEY = "sk-verysecret123"


class FakeServer:
    """Answers with `answer(body)`, but a request for which `faults` has a word goes wrong in that way.

    A fault is a status ("500", or "429:0.2" with the Retry-After), or one of truncated, reset, hang, slow, nojson, notext, shape.
    """

    def __init__(self, answer: Callable[[Any], Any] = lambda body: body, faults: Iterable[str] = ()) -> None:
        self.answer, self.faults = answer, itertools.chain(faults, itertools.repeat(""))
        self.bodies: list[Any] = []
        self.headers: list[Any] = []
        self.times: list[float] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.times.append(time.monotonic())
        self.headers.append(request.headers)
        data = await request.read()
        body = msgspec.json.decode(data) if data else None
        self.bodies.append(body)
        fault = next(self.faults)
        if fault[:1].isdigit():
            status, _, wait = fault.partition(":")
            headers = {"Retry-After": wait} if wait else {}
            return web.Response(status=int(status), text=f"refused: {request.headers.get('Authorization')}", headers=headers)
        if fault in ("truncated", "reset"):
            return await self._break_off(request, fault)
        if fault in ("hang", "slow"):
            await asyncio.sleep(60 if fault == "hang" else 0.05)
        wrong = {"nojson": b"<html>", "notext": b'"\xff"', "shape": b'{"choices": []}'}
        return web.Response(body=wrong.get(fault) or msgspec.json.encode(self.answer(body)))

    async def _break_off(self, request: web.Request, fault: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        assert request.transport is not None
        if fault == "truncated":
            await response.prepare(request)
            await response.write(b'{"choices"')
        else:
            linger = struct.pack("ii", 1, 0)  # closing then sends a reset
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.transport.close()
        return response
