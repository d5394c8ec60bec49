"""The back end with a browser: headless Chromium by Playwright, one for the process, each visitor in a context of its own.

A thread of its own runs the event loop of browser and server, so that environments on any loop, or on none, share them. When the
browser dies, actions under way raise `EnvironmentFailure`, and who comes next gets a new one. Names are resolved to nothing: the
browser reaches this machine alone, unless it was made for other hosts (`hosts.py`).
"""

import asyncio
import atexit
import contextlib
import shutil
import socket
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import uvicorn
from playwright.async_api import Browser, BrowserContext, ElementHandle, Error, Page, Playwright, Response, async_playwright

from agentgym import EnvironmentFailure, UserError

from .accessibility import read
from .backend import View, sends
from .site import COOKIE, Session, Site

T = TypeVar("T")
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
LOOPBACK = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # which names and addresses are reached, and as what
ARGUMENTS = ["--disable-component-update", "--disable-sync", "--force-webrtc-ip-handling-policy=disable_non_proxied_udp"]
SECONDS = 15.0  # for one step of an action
LONGEST = 60.0  # seconds for a whole action, the browser's start included
# What the browser alone knows is written into attributes of a copy of the document; `controls` keeps what can be acted on.
WRITE = """() => {
  const copy = document.documentElement.cloneNode(true);
  const copies = [copy, ...copy.querySelectorAll('*')], controls = [];
  [...document.querySelectorAll('*')].forEach((element, i) => {
    const kind = element.type || '', written = copies[i];
    if (kind === 'hidden') return;
    const style = getComputedStyle(element);
    if (style.display === 'none' || style.visibility !== 'visible') written.setAttribute('hidden', '');
    if (!element.matches('a[href], button, input, select, textarea')) return;
    written.setAttribute('data-node', controls.push(element) - 1);
    if (element === document.activeElement) written.setAttribute('data-focused', '');
    if (element.matches('a, button') || ['submit', 'button', 'reset', 'image'].includes(kind)) return;
    const box = kind === 'checkbox' || kind === 'radio';
    written.setAttribute('data-value', box ? (element.checked ? 'on' : '') : element.value);
  });
  window.agentgym = controls;
  return copy.outerHTML;
}"""
FILL = """([fields, focus]) => {
  for (const [node, value] of fields) {
    const element = window.agentgym[node];
    if (element.type === 'checkbox' || element.type === 'radio') element.checked = value !== '';
    else element.value = value;
    for (const name of ['input', 'change']) element.dispatchEvent(new Event(name, {bubbles: true}));
  }
  if (focus !== null) window.agentgym[focus].focus();
}"""
TO_THE_END = "element => { if (element.setSelectionRange) element.setSelectionRange(element.value.length, element.value.length) }"


class Chromium:
    """A browser of this process, and the servers of the sites that it visits.

    Args:
        rules: What it reaches (Chromium's host resolver rules).
    """

    def __init__(self, rules: str = LOOPBACK) -> None:
        self._rules = rules
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agentgym-browser", daemon=True)
        self._thread.start()
        self._starting = asyncio.Lock()
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._servers: dict[Site, tuple[uvicorn.Server, asyncio.Task[None], str]] = {}
        atexit.register(self.close)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` on the browser's loop, and wait for it on this one.

        Raises:
            EnvironmentFailure: the browser broke, or took too long.
        """
        try:
            async with asyncio.timeout(LONGEST):
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        except TimeoutError as error:
            raise EnvironmentFailure(f"the browser did not answer in {LONGEST:.0f} s") from error
        except Error as error:
            raise EnvironmentFailure(f"the browser: {error.message.partition(chr(10))[0]}") from error

    async def visit(self, site: Site, session: Session) -> tuple[BrowserContext, str]:
        """A context of its own that shows the session's cookie, and the site's origin. On the browser's loop."""
        async with self._starting:
            origin = await self._served(site)
        context = await self.context()
        await context.add_cookies([{"name": COOKIE, "value": session.cookie, "url": origin}])
        return context, origin

    async def context(self, **options: Any) -> BrowserContext:
        """A context of its own. On the browser's loop."""
        async with self._starting:
            browser = await self._started()
        context = await browser.new_context(viewport={"width": 1024, "height": 768}, **options)
        context.set_default_timeout(SECONDS * 1000)
        return context

    async def _started(self) -> Browser:
        if self._browser is None or not self._browser.is_connected():
            if self._playwright is not None:
                await self._playwright.stop()
            self._playwright = await async_playwright().start()
            program = next(filter(None, map(shutil.which, PROGRAMS)), None)
            try:
                self._browser = await self._playwright.chromium.launch(
                    executable_path=program, args=[f"--host-resolver-rules={self._rules}", *ARGUMENTS]
                )
            except Error as error:
                if program is not None:
                    raise
                raise UserError(
                    "there is no Chromium: install chromium-headless-shell, or `playwright install chromium`"
                ) from error
        return self._browser

    async def _served(self, site: Site) -> str:
        """The site's origin on loopback."""
        if site not in self._servers:
            listening = socket.socket()
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(site.app, log_level="critical", access_log=False, lifespan="off"))
            serving = self._loop.create_task(server.serve([listening]))
            self._servers[site] = server, serving, f"http://127.0.0.1:{listening.getsockname()[1]}"
        return self._servers[site][2]

    def close(self) -> None:
        """End the browser, the servers and the thread. Who comes next gets new ones."""
        atexit.unregister(self.close)
        opened.pop(self._rules, None)
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._stopped(), self._loop).result(SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    async def _stopped(self) -> None:
        if self._browser is not None:
            with contextlib.suppress(Error):
                await self._browser.close()
        if self._playwright is not None:
            await self._playwright.stop()
        for server, serving, _ in self._servers.values():
            server.should_exit = True
            await serving


opened: dict[str, Chromium] = {}  # by what they reach


def chromium(rules: str = LOOPBACK) -> Chromium:
    """The browser of this process that reaches what `rules` say."""
    if rules not in opened:
        opened[rules] = Chromium(rules)
    return opened[rules]


class BrowserBackend:
    """A visitor with a browser of their own.

    Args:
        site: Where to.
        session: Whose cookie to show.
    """

    def __init__(self, site: Site, session: Session) -> None:
        self._site, self._session = site, session
        self._chromium = chromium()
        self._context: BrowserContext | None = None
        self._tab: Page | None = None
        self._origin = ""

    async def goto(self, address: str) -> View:
        """Open a page."""
        return await self._chromium.run(self._goto(address))

    async def click(self, view: View, number: int) -> View:
        """As `Backend.click`."""
        return await self._chromium.run(self._click(view, number))

    async def fill(self, view: View, number: int, text: str) -> View:
        """As `Backend.fill`."""
        return await self._chromium.run(self._fill(view, number, text))

    async def select(self, view: View, number: int, value: str) -> View:
        """As `Backend.select`."""
        return await self._chromium.run(self._select(view, number, value))

    async def press(self, view: View, key: str) -> View:
        """As `Backend.press`."""
        return await self._chromium.run(self._press(view, key))

    async def show(self, view: View) -> None:
        """As `SiteBackend.show`.

        Raises:
            EnvironmentFailure: the page does not come back as it was.
        """
        if await self._chromium.run(self._shown(view)) != view:
            raise EnvironmentFailure(f"{view.address} did not come back as it was")

    async def aclose(self) -> None:
        """Close the context; that of a dead browser is closed already."""
        context, self._context, self._tab = self._context, None, None
        if context is not None:
            with contextlib.suppress(EnvironmentFailure):
                await self._chromium.run(context.close())

    # ---- on the browser's loop -----------------------------------------------------------------------------------------------

    async def _goto(self, address: str) -> View:
        if self._tab is None:
            self._context, self._origin = await self._chromium.visit(self._site, self._session)
            self._tab = await self._context.new_page()
        _check(await self._tab.goto(self._origin + address))
        return await self._view()

    async def _click(self, view: View, number: int) -> View:
        element, kind = await self._element(view, number), view.page.controls[number - 1].kind
        await self._following(
            element.click(), navigates=kind == "link" or (kind == "button" and view.page.controls[number - 1].form >= 0)
        )
        if kind in ("text", "area"):
            await element.evaluate(TO_THE_END)
        return await self._view()

    async def _fill(self, view: View, number: int, text: str) -> View:
        element = await self._element(view, number)
        await element.fill(text)
        return await self._view()

    async def _select(self, view: View, number: int, value: str) -> View:
        element = await self._element(view, number)
        await element.focus()
        await element.select_option(value=value)
        return await self._view()

    async def _press(self, view: View, key: str) -> View:
        await self._following(self._page.keyboard.press(key), navigates=key == "Enter" and sends(view))
        return await self._view()

    async def _shown(self, view: View) -> View:
        await self._goto(view.address)
        controls = view.page.controls
        fields = [[controls[n - 1].node, value] for n, value in view.fields.items()]
        await self._page.evaluate(FILL, [fields, None if view.focus is None else controls[view.focus - 1].node])
        return await self._view()

    @property
    def _page(self) -> Page:
        if self._tab is None:
            raise EnvironmentFailure("the browser was closed")
        return self._tab

    async def _following(self, action: Awaitable[None], navigates: bool) -> None:
        """Act, and wait for the page that this leads to. Without scripts it is known which action leads to one."""
        if not navigates:
            await action
            return
        async with self._page.expect_navigation(wait_until="load") as navigation:
            await action
        _check(await navigation.value)

    async def _element(self, view: View, number: int) -> ElementHandle:
        handle = await self._page.evaluate_handle("node => (window.agentgym || [])[node]", view.page.controls[number - 1].node)
        element = handle.as_element()
        if element is None:
            raise EnvironmentFailure(f"element {number} is gone from {view.address}")
        return element

    async def _view(self) -> View:
        page, fields, focus = read(await self._page.evaluate(WRITE))
        return View(self._page.url.removeprefix(self._origin), page, fields, focus)


def _check(response: Response | None) -> None:
    """Raise `EnvironmentFailure` where the site broke."""
    if response is not None and response.status >= 500:
        raise EnvironmentFailure(f"{response.url} answered with status {response.status}")
