"""OpenEnv's protocol from the client's side (as of openenv 0.10): sessions over a WebSocket, descriptions over HTTP.

Written against the protocol, not on the package ``openenv``: that one requires a generation of the MCP SDK which ours excludes.
"""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import aiohttp

from agentgym.errors import EnvironmentFailure

_CLOSING = aiohttp.ClientWSTimeout(ws_close=1.0)  # a server that is silent does not say goodbye either
MAX_BYTES = 100 * 2**20  # of one message, as OpenEnv's own client has it


class OpenEnvClient:
    """One session with a server.

    Args:
        url: Of the server, such as ``http://localhost:8000``.
        seconds: How long it may take for each answer.
    """

    def __init__(self, url: str, seconds: float = 60.0) -> None:
        self._url = url.rstrip("/").replace("ws://", "http://", 1).replace("wss://", "https://", 1)
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def ask(self, kind: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one message (``reset``, ``step`` or ``state``). Returns the data of its answer.

        Raises:
            EnvironmentFailure: the server is gone, silent, or says that it failed.
        """
        try:
            async with asyncio.timeout(self._seconds):
                socket = self._socket or await self._connect()
                await socket.send_str(json.dumps({"type": kind} | ({} if data is None else {"data": data})))
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionError("it ended the session")
                answer = json.loads(message.data)
            said: dict[str, Any] = answer["data"]
            if answer["type"] == "error":
                raise RuntimeError(f"{said.get('message')} ({said.get('code')})")
            return said
        except Exception as error:
            await self.close()  # a late answer would be taken for that of the next question
            raise self._failure(error) from error

    async def close(self) -> None:
        """End the session."""
        session, socket, self._session, self._socket = self._session, self._socket, None, None
        if socket is not None:
            await socket.close()
        if session is not None:
            await session.close()

    def look_up(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server says of itself over HTTP; None where it does not know `path`. It is waited for.

        Raises:
            EnvironmentFailure: the server is gone, silent, or says that it failed.
        """
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=self._seconds) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (404, 405, 501):
                    return None
                raise self._failure(error) from error
        except (OSError, ValueError) as error:
            raise self._failure(error) from error

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(f"{self._url}/ws", max_msg_size=MAX_BYTES, timeout=_CLOSING)
        return self._socket

    def _failure(self, error: Exception) -> EnvironmentFailure:
        late = isinstance(error, TimeoutError)
        reason = f"no answer within {self._seconds:g} s" if late else str(error) or type(error).__name__
        return EnvironmentFailure(f"OpenEnv server {self._url}: {reason}")
