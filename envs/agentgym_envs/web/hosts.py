"""Where a browser may go: hosts by name or address, kept by its network stack and looked at again on every page.

The rules are Chromium's own for resolving hosts. An allowed name is looked up once, here, and stands for that address as long as
the browser lives; every other name and every other address, written in whatever way, resolves to nothing. Whatever a page tries
(redirects, frames, scripts, pictures, sockets, prefetching), no connection and no look-up leaves the list, and a name that comes
to mean another address (DNS rebinding) leads where it led.
"""

import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from agentgym import UserError

LOOPBACK = ("127.0.0.1", "localhost")
PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(r"([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::([0-9]{1,5}))?")
_ADDRESS = re.compile(r"[!-\[\]-~]+")  # printed ASCII without a backslash, which browsers read as a slash


class Hosts:
    """An allow-list.

    Args:
        entries: Hosts such as ``127.0.0.1``, ``localhost:8000`` or ``shop.example.org``; without a port, all ports of it.

    Attributes:
        rules: For `chromium`.

    Raises:
        UserError: an entry is no host, or has no address.
    """

    def __init__(self, entries: Sequence[str] = LOOPBACK) -> None:
        self._allowed = set(map(_entry, entries))
        if not self._allowed:
            raise UserError("the allow-list is empty: name the hosts that may be visited")
        rules = [f"MAP {host}{f':{port}' if port else ''} {_look_up(host)}" for host, port in sorted(self._allowed)]
        self.rules = ", ".join([*rules, "MAP * ~NOTFOUND"])

    def allow(self, address: str) -> bool:
        """Whether this is the address of a page on one of the hosts."""
        try:
            parts = urlsplit(address)
            host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
        except ValueError:
            return False
        if parts.scheme not in PORTS or not _ADDRESS.fullmatch(address):
            return False
        return (host, 0) in self._allowed or (host, port) in self._allowed


def _entry(text: str) -> tuple[str, int]:
    """Host and port, which is 0 for any."""
    found = _ENTRY.fullmatch(text.lower())
    if found is None or int(found[2] or 0) > 65535:
        raise UserError(f"{text!r} is no host for an allow-list: write a name or an IPv4 address, such as 'localhost:8000'")
    return found[1], int(found[2] or 0)


def _look_up(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])
    except OSError as error:
        raise UserError(f"the host {host!r} of the allow-list has no address ({error}): is its name right?") from error
