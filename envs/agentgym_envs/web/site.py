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
LONGEST = 500  # characters kept of what a visitor writes
Page = Callable[[Request, "Session"], Coroutine[Any, Any, Response]]


class Session:
    """One visitor's state.

    Args:
        image: What it begins with.

    Attributes:
        planted: Text that others put into the pages which this visitor sees, by place; see `attacks`.
    """

    def __init__(self, image: bytes) -> None:
        self.planted: Mapping[str, str] = {}
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

    def content(self) -> str:
        """What all tables hold, as one text."""
        return repr([(t, self.db.execute(f"SELECT * FROM {t} ORDER BY rowid").fetchall()) for t in self._tables])

    def key(self) -> str:
        """A hash of what all tables hold."""
        return hashlib.blake2b(self.content().encode(), digest_size=16).hexdigest()

    def close(self) -> None:
        """Free it."""
        self.db.close()


class Site:
    """Base of our sites: routes, templates, sessions by cookie, and a page for each reason why a form is refused.

    Args:
        name: What visitors call it.
        package: Where the site's `templates` are; they extend ``layout.html`` and may replace ``refused.html``.
        schema: SQL that makes a session's empty database.
        pages: What answers to a path, by method and path: ``{"GET /cart": self.cart}``.
        refusals: Why a form is not accepted, by a word for it: the form answers with ``see("/refused/WORD")``.

    Attributes:
        empty: The database that sessions begin with.
    """

    def __init__(self, name: str, package: str, schema: str, pages: Mapping[str, Page], refusals: Mapping[str, str]) -> None:
        with closing(sqlite3.connect(":memory:")) as db:
            db.executescript(schema)
            self.empty = db.serialize()
        self._sessions: dict[str, Session] = {}
        self._refusals = refusals
        self.templates = jinja2.Environment(
            loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader(__package__)]),
            autoescape=True,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        self.templates.globals["site"] = name
        self.templates.filters["money"] = money
        routes = []
        for where, page in {**pages, "GET /refused/{why}": self.refused}.items():
            method, _, path = where.partition(" ")
            routes.append(Route(path, self._endpoint(page), methods=[method]))
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: self._missing})
        self.app.router.redirect_slashes = False

    def open(self) -> Session:
        """A new session; its cookie opens the site's pages."""
        session = Session(self.empty)
        self._sessions[session.cookie] = session
        return session

    def close(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.pop(session.cookie, None)
        session.close()

    def page(self, template: str, session: Session, **values: Any) -> Response:
        """A page for a visitor."""
        return HTMLResponse(self.templates.get_template(template).render(values, planted=session.planted))

    async def refused(self, request: Request, session: Session) -> Response:
        """Why a form was not accepted. A page of its own, so that a browser can come back to it."""
        reason = self._refusals.get(request.path_params["why"])
        if reason is None:
            raise HTTPException(404)
        return self._refused(reason, 200)

    def _refused(self, reason: str, code: int) -> Response:
        return HTMLResponse(self.templates.get_template("refused.html").render(reason=reason, planted={}), code)

    def _endpoint(self, page: Page) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def answer(request: Request) -> Response:
            session = self._sessions.get(request.cookies.get(COOKIE, ""))
            if session is None:
                raise HTTPException(403, "This page needs a session.")
            return await page(request, session)

        return answer

    async def _missing(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return self._refused(error.detail, error.status_code)


def see(path: str) -> Response:
    """What a form answers with: the page to look at now. Going back or reloading never sends a form twice."""
    return RedirectResponse(path, 303)


def money(cents: int) -> str:
    """As our sites write it."""
    return f"${cents / 100:,.2f}"


async def form(request: Request) -> Mapping[str, str]:
    """The fields of a form that was sent, without spaces at their ends, cut at `LONGEST`; empty ones are as good as none."""
    sent = {name: value.strip()[:LONGEST] for name, value in (await request.form()).items() if isinstance(value, str)}
    return {name: value for name, value in sent.items() if value}


def position(written: str, count: int = 10**9) -> int:
    """A number in an address, from 0 to `count`.

    Raises:
        HTTPException: it is none.
    """
    try:
        found = whole_number(written)
    except ValueError:
        found = None
    if found is None or found >= count:
        raise HTTPException(404)
    return found


def numbered(address: str, path: str, count: int) -> int | None:
    """Which of `count` items has its page at this address, if all have theirs below `path`."""
    where, _, number = address.partition("?")[0].rpartition("/")
    known = where == path and number.isdecimal() and len(number) < 10 and int(number) < count
    return int(number) if known else None


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
