"""The back end without a browser: the site is called in this process, pages are acted on as HTML says, without scripts.

Nothing in it waits: our sites answer from memory, so that their coroutines end at the first step and need no event loop.
"""

from collections.abc import Coroutine
from typing import Any
from urllib.parse import urljoin

import msgspec

from agentgym import EnvironmentFailure

from .accessibility import CHECKED, Control, read
from .backend import View, encoded, implicit_button, sends
from .site import COOKIE, Session, Site

REDIRECTS = 5  # in a row
HOST = b"site"


class TextBackend:
    """A visitor who has no browser.

    Args:
        site: Where to.
        session: Whose cookie to show.
    """

    broken = False  # nothing is under way when a call ends

    def __init__(self, site: Site, session: Session) -> None:
        self._site = site
        self._headers = [(b"host", HOST), (b"cookie", f"{COOKIE}={session.cookie}".encode())]

    async def goto(self, address: str) -> View:
        """Open a page."""
        return self._visit("GET", address)

    async def click(self, view: View, number: int) -> View:
        """As `Backend.click`."""
        control = view.page.controls[number - 1]
        if control.kind == "link":
            return self._visit("GET", urljoin(view.address, control.target))
        if control.kind == "button":
            return self._submit(view, control.form, number)
        if control.kind == "check":
            held = view.fields.get(number, control.value)
            return _held(view, number, {number: "" if held else CHECKED})
        if control.kind == "radio":
            group = (i for i, c in enumerate(view.page.controls, 1) if _together(c, control))
            return _held(view, number, dict.fromkeys(group, "") | {number: CHECKED})
        return _held(view, number, {})

    async def fill(self, view: View, number: int, text: str) -> View:
        """As `Backend.fill`."""
        return _held(view, number, {number: text})

    async def select(self, view: View, number: int, value: str) -> View:
        """As `Backend.select`."""
        return _held(view, number, {number: value})

    async def press(self, view: View, key: str) -> View:
        """As `Backend.press`."""
        if view.focus is None:
            return view
        control = view.page.controls[view.focus - 1]
        if key == "Escape":  # browsers empty a search field
            return _held(view, view.focus, {view.focus: ""} if control.role == "searchbox" else {})
        if control.kind in ("link", "button"):
            return await self.click(view, view.focus)
        if control.kind == "area":
            return _held(view, view.focus, {view.focus: view.fields.get(view.focus, control.value) + "\n"})
        return self._submit(view, control.form, implicit_button(view, control.form) or 0) if sends(view) else view

    async def show(self, view: View) -> None:
        """A view is all there is."""

    async def aclose(self) -> None:
        """There is nothing to free."""

    def _submit(self, view: View, form: int, button: int) -> View:
        """Send a form by one of its buttons; nothing happens outside of a form."""
        if form < 0:
            return view
        target, sent = view.page.forms[form], encoded(_fields(view, form, button))
        address = urljoin(view.address, target.action) if target.action else view.address
        if target.post:
            return self._visit("POST", address, sent.encode())
        return self._visit("GET", f"{address.partition('?')[0]}?{sent}")

    def _visit(self, method: str, address: str, body: bytes = b"") -> View:
        for _ in range(REDIRECTS):
            status, headers, html = self._request(method, address, body)
            location = headers.get(b"location")
            if status not in (301, 302, 303, 307, 308) or location is None:
                return View(address, read(html.decode())[0])
            method, body, address = "GET", b"", urljoin(address, location.decode())
        raise EnvironmentFailure(f"{address} redirects without end")

    def _request(self, method: str, address: str, body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        """Call the application: status, headers and body.

        Raises:
            EnvironmentFailure: it broke, or it waits for something.
        """
        path, _, query = address.partition("?")
        messages: list[dict[str, Any]] = []
        headers = self._headers
        if method == "POST":
            headers = [*headers, (b"content-type", b"application/x-www-form-urlencoded"), (b"content-length", b"%d" % len(body))]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "server": (HOST.decode(), 80),
        }
        try:
            _finish(self._site.app(scope, receive, send))
        except Exception as error:
            raise EnvironmentFailure(f"{method} {address}: {type(error).__name__}: {error}") from error
        start, *rest = messages
        return start["status"], dict(start["headers"]), b"".join(m.get("body", b"") for m in rest)


def _finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("the site waits for something")


def _held(view: View, focus: int, changes: dict[int, str]) -> View:
    """The same page with other values in its fields, and the focus where something was done."""
    controls = view.page.controls
    fields = {n: v for n, v in (view.fields | changes).items() if v != controls[n - 1].value}
    return msgspec.structs.replace(view, fields=fields, focus=focus)


def _together(one: Control, other: Control) -> bool:
    return one.kind == other.kind == "radio" and (one.form, one.field) == (other.form, other.field)


def _fields(view: View, form: int, button: int) -> list[tuple[str, str]]:
    """What a form sends, in the page's order (HTML, constructing the entry list)."""
    found: list[tuple[str, str]] = []
    hidden = list(view.page.forms[form].hidden)
    for number, control in enumerate(view.page.controls, 1):
        while hidden and hidden[0][0] < number:
            found.append(hidden.pop(0)[1:])
        if control.form != form or not control.field or control.disabled:
            continue
        held = view.fields.get(number, control.value)
        if control.kind in ("text", "area", "select"):
            found.append((control.field, held))
        elif number == button or (control.kind in ("check", "radio") and held):
            found.append((control.field, control.sent))
    return found + [field[1:] for field in hidden]
