"""A client for one server that speaks JSON over HTTP: patient with the server, quick to say what the user can mend."""

import asyncio
import math
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from agentgym.errors import RefusedFailure, SamplerFailure, UserError
from agentgym.sampling.base import Usage

TRY_AGAIN = {408, 409, 425, 429}  # and all from 500 on
THIS_REQUEST = {400, 413, 422}  # too long, say: other conversations may be fine
REMEDIES = {
    401: "give the right API key",
    402: "look at the account's credit",
    403: "give an API key that may use this model",
    404: "check the base URL and the model's name",
}
BROKEN = (aiohttp.ClientError, OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # OSError: time-outs as well
SHOWN = 500  # characters of a server's answer in an error


class Endpoint:
    """Asks one server, again where that may help.

    Tried again are connections that fail or break, time-outs, answers that are not what they should be, and the statuses 408,
    409, 425, 429 and 5xx, after waits that double from `base_delay` to `longest_delay` seconds, each shortened by chance so that
    requests do not come back all at once. A server that says `Retry-After` with one of these is left alone for so long by all
    requests of this endpoint, but never longer than `timeout`. How many requests are in flight is up to the caller.

    An endpoint may be used in one event loop after the other, not in two at once.

    Args:
        url: Of the server, to which paths are appended.
        headers: Sent with each request. No error text shows them, or a part of the server's answer that repeats them.
        attempts: How often one request is sent at most.
        timeout: Seconds from sending a request to the end of its answer.
        requests_per_minute: Requests, repeated ones included, are sent at least 60 / `requests_per_minute` seconds apart.
        usage: Its `retries` grow with each request that is sent again.

    Attributes:
        host: The server's name, without the port.

    Raises:
        UserError: that is no URL of a server, or a number makes no sense.
    """

    base_delay = 0.5
    longest_delay = 30.0

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = {},
        attempts: int = 6,
        timeout: float = 300.0,
        requests_per_minute: float | None = None,
        usage: Usage,
    ) -> None:
        self.host = _host(url)
        if attempts < 1 or timeout <= 0 or (requests_per_minute is not None and requests_per_minute <= 0):
            raise UserError("attempts has to be at least 1, timeout and requests_per_minute have to be above 0")
        self.url = url.rstrip("/")
        self._headers, self._attempts, self._timeout, self._usage = dict(headers), attempts, timeout, usage
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0
        self._next_slot = self._not_before = 0.0  # on the monotonic clock, which is the same for all loops
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def post(self, path: str, body: Any, shape: Any = Any) -> Any:
        """Send `body` as JSON; returns the decoded answer.

        Args:
            path: Appended to the URL, with a leading slash.
            body: Anything that msgspec can encode.
            shape: Type of the answer as for `msgspec.json.decode`; an answer of another shape counts as malformed. None for an
                answer that is not read.

        Raises:
            SamplerFailure: no answer after all attempts.
            RefusedFailure: the server refuses this body.
            UserError: the server refuses all requests of this kind: wrong key, URL or model.
        """
        return await self._request("POST", path, msgspec.json.encode(body), shape)

    async def get(self, path: str, shape: Any = Any) -> Any:
        """The decoded answer to a GET; arguments and errors as for `post`."""
        return await self._request("GET", path, None, shape)

    async def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _request(self, method: str, path: str, data: bytes | None, shape: Any) -> Any:
        what, last = f"{method} {self.url}{path}", ""
        for attempt in range(self._attempts):
            if attempt:
                self._usage.retries += 1
                await asyncio.sleep(random.random() * min(self.base_delay * 2 ** (attempt - 1), self.longest_delay))
            await self._turn()
            answer = b""
            try:
                status, headers, answer = await self._send(method, path, data)
                if 200 <= status < 300:
                    return None if shape is None else msgspec.json.decode(answer, type=shape)
            except BROKEN as error:
                what_came = f" in {answer.decode(errors='replace')}" if answer else ""  # it may say what is wrong with the server
                slow = isinstance(error, TimeoutError)
                why = f"no answer within {self._timeout:g} s" if slow else f"{type(error).__name__}: {error}{what_came}"
                last = self._public(why)
                continue
            said = answer.decode(errors="replace").strip()
            last = self._public(f"status {status}: {said}" if said else f"status {status}")
            if status in THIS_REQUEST:
                raise RefusedFailure(f"{what} was refused with {last}")
            if status < 500 and status not in TRY_AGAIN:
                raise UserError(f"{what} was refused with {last}; {REMEDIES.get(status, 'check the base URL')}")
            self._hold(headers.get("Retry-After", ""))
        # Outside of any `except`: the errors of aiohttp carry the request's headers, and with them the key.
        raise SamplerFailure(f"{what} failed {self._attempts} times, at last with {last}")

    async def _send(self, method: str, path: str, data: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        session = await self._open()
        # A redirected POST would arrive as a GET: it is better to hear about the move.
        async with session.request(method, self.url + path, data=data, allow_redirects=False) as response:
            return response.status, response.headers, await response.read()

    async def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is loop:
            return self._session
        old, self._loop = self._session, loop
        self._session = session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={**self._headers, "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=self._timeout),
        )
        if old is not None:
            await old.close()
        return session

    async def _turn(self) -> None:
        """Wait until the server's wish and the rate allow one more request."""
        while True:
            now = time.monotonic()
            slot = max(now, self._next_slot, self._not_before)
            self._next_slot = slot + self._interval if self._interval else 0.0
            await asyncio.sleep(slot - now)
            if self._not_before <= slot:  # nobody was told meanwhile to wait longer
                return

    def _hold(self, retry_after: str) -> None:
        """Let all requests wait as the server says: a number of seconds, or a date."""
        try:
            seconds = float(retry_after)
        except ValueError:
            try:
                date = parsedate_to_datetime(retry_after)
            except ValueError:
                return
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        if math.isfinite(seconds):
            self._not_before = max(self._not_before, time.monotonic() + min(seconds, self._timeout))

    def _public(self, text: str) -> str:
        """`text` on one line, cut, and without what the headers say."""
        for value in self._headers.values():
            if words := value.split():
                text = text.replace(words[-1], "***")  # the last word of "Bearer KEY"
        text = " ".join(text.split())
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _host(url: str) -> str:
    """The host's name. The error does not show the URL, which may have a password in it."""
    try:
        parts = urlsplit(url)
        plain = parts.username is None and not parts.query and not parts.fragment and parts.port != 0
    except ValueError:  # of a broken address or port
        plain = False
    if not plain or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError("a server's URL has to look like http://host:port/v1, without user, password, ? and #")
    return parts.hostname
