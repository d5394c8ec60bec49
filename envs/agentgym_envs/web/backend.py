"""What a back end has to do: look at pages and act on them. There are two, and they show the same."""

import string
from typing import Protocol
from urllib.parse import quote_plus

import msgspec

from .accessibility import Page

SAFE = frozenset(string.ascii_letters + string.digits + "/_-.*+%?&=")


class View(msgspec.Struct, frozen=True):
    """Where a visitor is, as a value.

    Attributes:
        address: Path and query, without the site's origin.
        page: As it came.
        fields: What its fields hold other than what they came with, by number of control.
        focus: The control that keys go to.
    """

    address: str
    page: Page
    fields: dict[int, str] = {}
    focus: int | None = None


class Backend(Protocol):
    """Acts on pages. `view` is always where it is; what an action cannot be done with was refused before it came here.

    All methods raise `EnvironmentFailure` when the site or the browser breaks.
    """

    async def goto(self, address: str) -> View:
        """Open a page."""
        ...

    async def click(self, view: View, number: int) -> View:
        """Follow a link, press a button, turn a box, or go into a field."""
        ...

    async def fill(self, view: View, number: int, text: str) -> View:
        """Write `text` in place of what a field holds."""
        ...

    async def select(self, view: View, number: int, value: str) -> View:
        """Choose one of a select's values."""
        ...

    async def press(self, view: View, key: str) -> View:
        """Press a key where the focus is, which is not in a select."""
        ...

    async def aclose(self) -> None:
        """Free what it holds."""
        ...


class SiteBackend(Backend, Protocol):
    """One for sites of our own, whose state can be returned to.

    Attributes:
        broken: Whether site or browser broke: nobody knows what still comes of what was begun, and only `aclose` may be called.
    """

    broken: bool

    async def show(self, view: View) -> None:
        """Be at `view`, which was given at another time, when the server was in its present state."""
        ...


def is_address(text: str) -> bool:
    """Whether this is a path of the site, with or without a query, written as a browser would write it."""
    return text.startswith("/") and not text.startswith("//") and "/." not in text and SAFE.issuperset(text)


def encoded(fields: list[tuple[str, str]]) -> str:
    """Fields of a form as browsers send them (WHATWG URL, application/x-www-form-urlencoded)."""
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in fields)


def implicit_button(view: View, form: int) -> int | None:
    """What Enter presses in a form (HTML, implicit submission): its first button; 0, which is none, with one text; or nothing."""
    own = [(i, c.kind) for i, c in enumerate(view.page.controls, 1) if c.form == form]
    texts = sum(kind == "text" for _, kind in own)
    return next((i for i, kind in own if kind == "button"), 0 if texts == 1 else None)


def sends(view: View) -> bool:
    """Whether Enter leads to another page."""
    if view.focus is None:
        return False
    control = view.page.controls[view.focus - 1]
    if control.kind == "link":
        return True
    return control.kind not in ("area", "select") and control.form >= 0 and implicit_button(view, control.form) is not None


def _quoted(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return quote_plus(lines, safe="*").replace("~", "%7E")
