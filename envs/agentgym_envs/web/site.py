"""A site: an ASGI application all of whose changing state is one small SQLite database for each session.

A session's database is a value: `Session.image` is it as bytes, `Session.load` returns to it. So any state of the server can be
kept and returned to in microseconds, whoever asks the pages: a browser over HTTP, or a program that calls the application.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Coroutine, Mapping
from contextlib import closing
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

COOKIE = "session"
Page = Callable[[Request, "Session"], Coroutine[Any, Any, Response]]


class Session:
    """One visitor's state.

    Args:
        image: What it begins with.
    """

    def __init__(self, image: bytes) -> None:
        self.cookie = secrets.token_urlsafe(16)
        # A server's thread answers the browser while ours waits for it: never both at once.
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db.deserialize(image)
        self._tables = [name for (name,) in self.db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]

    @property
    def changes(self) -> int:
        """A number that grows with every change."""
        return self.db.total_changes

    def image(self) -> bytes:
        """The database as a value."""
        return self.db.serialize()

    def load(self, image: bytes) -> None:
        """Return to `image`."""
        self.db.deserialize(image)

    def key(self) -> str:
        """A hash of what all tables hold."""
        digest = hashlib.blake2b(digest_size=16)
        for table in self._tables:
            digest.update(repr((table, self.db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall())).encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Free it."""
        self.db.close()


class Site:
    """Base of our sites: routes, templates, and sessions by cookie.

    Args:
        package: Where the site's `templates` are.
        schema: SQL that makes a session's empty database.
        pages: What answers to a path, by method and path: ``{"GET /cart": self.cart}``.
    """

    def __init__(self, package: str, schema: str, pages: Mapping[str, Page]) -> None:
        with closing(sqlite3.connect(":memory:")) as db:
            db.executescript(schema)
            self._empty = db.serialize()
        self._sessions: dict[str, Session] = {}
        self.templates = jinja2.Environment(
            loader=jinja2.PackageLoader(package),
            autoescape=True,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        routes = []
        for where, page in pages.items():
            method, _, path = where.partition(" ")
            routes.append(Route(path, self._endpoint(page), methods=[method]))
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: self._missing})
        self.app.router.redirect_slashes = False

    def open(self) -> Session:
        """A new session; its cookie opens the site's pages."""
        session = Session(self._empty)
        self._sessions[session.cookie] = session
        return session

    def close(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.pop(session.cookie, None)
        session.close()

    def render(self, template: str, code: int = 200, /, **values: Any) -> Response:
        """A page."""
        return HTMLResponse(self.templates.get_template(template).render(values), code)

    def _endpoint(self, page: Page) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def answer(request: Request) -> Response:
            session = self._sessions.get(request.cookies.get(COOKIE, ""))
            if session is None:
                raise HTTPException(403, "This page needs a session.")
            return await page(request, session)

        return answer

    async def _missing(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return self.render("refused.html", error.status_code, reason=error.detail)


def see(path: str) -> Response:
    """What a form answers with: the page to look at now. Going back or reloading never sends a form twice."""
    return RedirectResponse(path, 303)


async def form(request: Request) -> Mapping[str, str]:
    """The fields of a form that was sent."""
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


def whole_number(text: str) -> int | None:
    """A whole number that a visitor wrote, at most nine digits; None for an empty field.

    Raises:
        ValueError: it is none.
    """
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{text[:20]!r} is not a number")
    return int(text)
