"""A client for one server that speaks JSON.

It asks again where that may help, waits when it is told to, and says whether the server, this request or the caller is to blame.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from agentgym.errors import SamplerFailure, UserError
from agentgym.sampling.base import Usage

ASK_AGAIN = {408, 409, 425, 429}  # and all from 500 on
THIS_REQUEST = {400, 413, 422}  # the server cannot serve this one: too long for the model's context, say
REMEDIES = {
    401: "check the API key",
    403: "check the API key and what it may be used for",
    404: "check the URL and the model's name",
    405: "check the URL",
}
UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)  # a ValidationError is a DecodeError
SHOWN = 500  # characters of a server's error text


class _AskAgain(Exception):
    """This attempt failed in a way that may pass."""


class Endpoint:
    """One server, asked with JSON and answering with JSON. Any number of requests may be under way at once.

    Args:
        url: What all paths are appended to, such as ``http://localhost:8000/v1``.
        headers: Sent with every request; what they say is kept out of error texts, since keys are among them.
        attempts: How often a request is sent before it is given up.
        timeout: Seconds for one attempt, from the connection to the last byte.
        requests_per_minute: No more are sent, retries included, and they are evenly spaced; None for no limit.
        usage: Where retries are counted.

    Raises:
        UserError: the URL is none, or a number makes no sense.
    """

    base_delay, longest_delay = 0.5, 30.0  # seconds before the second attempt, doubled for each further one, and its cap
    longest_hold = 600.0  # seconds; a server that wants to be left alone for longer does not serve this run

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
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UserError("the server's URL has to look like http://host:port/v1, without user name, password or key")
        if attempts < 1 or timeout <= 0 or (requests_per_minute is not None and requests_per_minute <= 0):
            raise UserError("attempts has to be at least 1, timeout and requests_per_minute above 0")
        self.url = url.rstrip("/")
        self._headers, self._attempts, self._timeout, self._usage = dict(headers), attempts, timeout, usage
        self._secrets = [word for value in headers.values() for word in value.split()[-1:]]
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0
        self._next_slot = 0.0  # when the limiter lets the next request pass, as `time.monotonic` says it
        self._not_before = 0.0  # when the server wants to be asked again
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def post(self, path: str, body: Any, read: Callable[[Any], Any] | None = lambda answer: answer) -> Any:
        """Send `body` as JSON.

        Args:
            path: Appended to the URL.
            body: What JSON can hold.
            read: Makes the result from the decoded answer; where it raises `msgspec.ValidationError` the server is asked again.
                None for an answer that says nothing beyond its status, and need not be JSON.

        Returns:
            What `read` makes of the answer.

        Raises:
            SamplerFailure: no proper answer after all attempts, or the server cannot serve this one request.
            UserError: the server will serve no such request: the key, the URL or the model's name is wrong.
        """
        return await self._ask("POST", path, body, read)

    async def get(self, path: str) -> Any:
        """Fetch `path` and decode its JSON.

        Raises:
            SamplerFailure: no proper answer after all attempts.
            UserError: the server will serve no such request: the key or the URL is wrong.
        """
        return await self._ask("GET", path, None, lambda answer: answer)

    async def close(self) -> None:
        """Close all connections, for good; who still waits gets a `SamplerFailure`."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, path: str, body: Any, read: Callable[[Any], Any] | None) -> Any:
        url = f"{self.url}/{path.lstrip('/')}"
        last = ""
        for attempt in range(self._attempts):
            if attempt:
                self._usage.retries += 1
                await asyncio.sleep(random.random() * min(self.base_delay * 2 ** (attempt - 1), self.longest_delay))
            await self._admit()
            try:
                return await self._once(method, url, body, read)
            except _AskAgain as error:
                last = str(error)
        raise SamplerFailure(f"{url} was asked {self._attempts} times without success; the last time: {last}")

    async def _admit(self) -> None:
        """Wait until the server wants to be asked and the limiter has a slot."""
        while True:
            now, hold = time.monotonic(), self._not_before
            if hold - now > self.longest_hold:
                raise SamplerFailure(f"{self.url} wants no requests for {hold - now:.0f} s")
            slot = max(now, hold, self._next_slot)
            self._next_slot = slot + self._interval
            crowd = hold > now and not self._interval  # without a limiter, all would come back in one moment
            await asyncio.sleep(slot - now + crowd * random.random() * self.base_delay)
            if self._not_before == hold:  # otherwise the server wants to be left alone for longer since then
                return

    async def _once(self, method: str, url: str, body: Any, read: Callable[[Any], Any] | None) -> Any:
        session = await self._open()
        try:
            async with session.request(method, url, json=body, allow_redirects=False) as response:
                text = await response.read()
        except TimeoutError as error:
            raise _AskAgain(f"no answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _AskAgain(self._shown(f"{type(error).__name__}: {error}")) from error
        if response.status >= 300:  # redirects too: they may lead away from where the key belongs
            raise self._refusal(url, response, text)
        try:
            return read(msgspec.json.decode(text)) if read else None
        except UNREADABLE as error:
            raise _AskAgain(self._shown(f"a malformed answer ({error}): {text.decode(errors='replace')}")) from error

    def _refusal(self, url: str, response: aiohttp.ClientResponse, text: bytes) -> Exception:
        """What an answer that is no success means for the one who asked."""
        status = response.status
        said = self._shown(f"{status} {response.reason or ''}: {_reason(text)}")
        if status in ASK_AGAIN or status >= 500:
            wait = _seconds(response.headers.get("Retry-After", ""))
            self._not_before = max(self._not_before, time.monotonic() + wait if wait > 0 else 0.0)
            return _AskAgain(said)
        if status in THIS_REQUEST:
            return SamplerFailure(f"{url} refused a request: {said}")
        return UserError(f"{url} answers {said}; {REMEDIES.get(status, 'check the URL, the API key and the model')}")

    async def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise SamplerFailure(f"the connection with {self.url} was closed")
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is loop:
            return self._session
        old, self._loop = self._session, loop  # connections live in the loop that made them
        connector = aiohttp.TCPConnector(limit=0)  # who calls bounds what is in flight
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        session = self._session = aiohttp.ClientSession(headers=self._headers, connector=connector, timeout=timeout)
        if old is not None:
            await old.close()
        return session

    def _shown(self, text: str) -> str:
        """`text` without keys, and not too long."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:SHOWN]


def _reason(text: bytes) -> str:
    """The message in a server's error, in whichever of the usual places it is."""
    try:
        data = msgspec.json.decode(text)
    except UNREADABLE:
        return text.decode(errors="replace")
    error = data.get("error", data) if isinstance(data, dict) else data
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _seconds(retry_after: str) -> float:
    """How long a `Retry-After` header says to wait; 0 when it says nothing readable."""
    if re.fullmatch(r"\d+(\.\d+)?", retry_after):
        return float(retry_after)
    try:
        return parsedate_to_datetime(retry_after).timestamp() - time.time()
    except ValueError:
        return 0.0
