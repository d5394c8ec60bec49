"""What tests with a browser share: whether there is one, that none is left, and little sites for it to visit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import psutil
import pytest

from agentgym.browsers import of_the_system
from agentgym_envs.web import browser

BROWSER = pytest.mark.xdist_group("browser")  # one for all


@pytest.fixture(scope="module")
def headless() -> Iterator[None]:
    """A browser is there, and none is left."""
    if of_the_system() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium, and continuous integration has to have one")
        pytest.skip("there is no Chromium")
    yield
    for opened in list(browser.opened.values()):
        opened.close()
    assert not chromiums()


def chromiums() -> list[psutil.Process]:
    """The browsers' processes that are ours."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "chrom" in process.name() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


class Site(ThreadingHTTPServer):
    """A site of a few pages, which notes what it is asked for.

    Args:
        host: An address of this machine.

    Attributes:
        pages: HTML by path; what begins with "-> " is an address to be redirected to, and a number is a status.
        asked: The paths that were asked for, in order.
    """

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), _Answering)
        self.pages: dict[str, str] = {}
        self.asked: list[str] = []

    @property
    def origin(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class _Answering(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path.partition("?")[0], "404")
        moved = page.removeprefix("-> ") if page.startswith("-> ") else ""
        self.send_response(302 if moved else int(page) if page.isdigit() else 200)
        if moved:
            self.send_header("location", moved)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextmanager
def site(host: str = "127.0.0.1") -> Iterator[Site]:
    """A site that answers as long as one is in here."""
    with Site(host) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
