"""A tab of the browser on pages with scripts: looked at through the same reader, acted on with real mouse and keys.

`tab.js` runs in every document before its own scripts and knows which elements listen to the mouse. Unlike pages of our own, what
an action leads to is only known by looking again.
"""

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from importlib.resources import files
from typing import Any, TypeVar

from playwright.async_api import BrowserContext, ElementHandle, Error, Page

from agentgym import EnvironmentFailure, ToolError

from .accessibility import read
from .backend import View
from .browser import Chromium

T = TypeVar("T")
SCRIPTS = files(__package__)
LOOK = SCRIPTS.joinpath("tab.js").read_text()
SECOND = 1000  # milliseconds
PATIENCE = 2000.0  # milliseconds for a field to take a text
TYPED = frozenset(("", "text", "search", "email", "url", "tel", "password", "number"))  # inputs written key by key


class Tab(ABC):
    """Base of tabs. It keeps its context until it is closed or its browser breaks; `_open` then makes a new one.

    Args:
        browser: Whose tab.
        scripts: Run in every document before its own, beside `tab.js`.
        options: Of its context.

    Attributes:
        key: A hash of the document as it was seen last.
        broken: Whether something failed or was given up in the middle, so that nobody knows what still comes of it: the context
            is closed before anything else is done.
    """

    def __init__(self, browser: Chromium, *scripts: str, **options: Any) -> None:
        self._browser = browser
        self._scripts, self._options = (LOOK, *scripts), options
        self._context: BrowserContext | None = None
        self._tab: Page | None = None
        self.key, self.broken = "", False

    async def goto(self, address: str) -> View:
        """Open a page."""
        return await self._do(self._goto(address))

    async def click(self, view: View, number: int) -> View:
        """Click the middle of a control."""
        return await self._do(self._click(view, number))

    async def fill(self, view: View, number: int, text: str) -> View:
        """Write `text` in place of what a field holds, key by key where it is a text's."""
        return await self._do(self._fill(view, number, text))

    async def select(self, view: View, number: int, value: str) -> View:
        """Choose one of a select's values; where several can be chosen, this one too."""
        return await self._do(self._select(view, number, value))

    async def press(self, view: View, key: str) -> View:
        """Press a key, named as Playwright names it."""
        return await self._do(self._press(key))

    async def drag(self, start: tuple[int, int], end: tuple[int, int]) -> View:
        """Press the mouse at one point and let go at another; at the same one, it is a click."""
        return await self._do(self._drag(start, end))

    async def wait(self) -> View:
        """Look again, a second later."""
        return await self._do(self._wait())

    async def aclose(self) -> None:
        """Close the context; that of a dead browser is closed already."""
        context, self._context, self._tab = self._context, None, None
        if context is not None:
            with contextlib.suppress(EnvironmentFailure):
                await self._browser.run(context.close())

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self.broken:
            await self.aclose()
        self.broken = True
        try:
            done = await self._browser.run(work)
        except ToolError:
            self.broken = False
            raise
        self.broken = False
        return done

    # ---- on the browser's loop -----------------------------------------------------------------------------------------------

    @abstractmethod
    async def _look(self) -> View:
        """What is to be seen, once the last action has had its effect."""

    async def _goto(self, address: str) -> View:
        page = await self._open()
        await page.goto(address)
        return await self._look()

    async def _open(self) -> Page:
        if self._tab is None:
            self._context = await self._browser.context(accept_downloads=False, service_workers="block", **self._options)
            for script in self._scripts:
                await self._context.add_init_script(script)
            self._tab = await self._context.new_page()
        return self._tab

    @property
    def _page(self) -> Page:
        if self._tab is None:
            raise EnvironmentFailure("the browser was closed")
        return self._tab

    async def _click(self, view: View, number: int) -> View:
        middle = await self._page.evaluate("node => agentgym.middle(node)", view.page.controls[number - 1].node)
        if middle is None:
            raise ToolError(f"element {number} is not to be seen: it cannot be clicked")
        await self._page.mouse.click(*middle)
        return await self._look()

    async def _fill(self, view: View, number: int, text: str) -> View:
        element = await self._element(view, number)
        typed = await element.evaluate("element => element.matches('input') ? element.type : ''") in TYPED
        try:
            await element.fill("" if typed else text, timeout=PATIENCE)
        except Error as error:
            if not self._page.is_closed():
                raise ToolError(f"element {number} does not take this text") from error
            raise
        if typed:
            await self._page.keyboard.type(text)
        return await self._look()

    async def _select(self, view: View, number: int, value: str) -> View:
        element = await self._element(view, number)
        chosen = await element.evaluate("element => element.multiple ? [...element.selectedOptions].map(o => o.value) : []")
        await element.focus()
        await element.select_option(value=[*chosen, value], timeout=PATIENCE)
        return await self._look()

    async def _wait(self) -> View:
        await self._page.wait_for_timeout(SECOND)
        return await self._look()

    async def _press(self, key: str) -> View:
        await self._page.keyboard.press(key)
        return await self._look()

    async def _drag(self, start: tuple[int, int], end: tuple[int, int]) -> View:
        mouse = self._page.mouse
        await mouse.move(*start)
        await mouse.down()
        if start != end:
            await mouse.move(*end, steps=5)  # scripts that drag look at the way, too
        await mouse.up()
        return await self._look()

    async def _element(self, view: View, number: int) -> ElementHandle:
        handle = await self._page.evaluate_handle("node => agentgym.control(node)", view.page.controls[number - 1].node)
        element = handle.as_element()
        if element is None:
            raise ToolError(f"element {number} is gone")
        return element

    def _seen(self, address: str, html: str) -> View:
        page, fields, focus = read(html)
        self.key = hashlib.blake2b(f"{address}\n{html}".encode(), digest_size=16).hexdigest()
        return View(address, page, fields, focus)
