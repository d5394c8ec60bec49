"""The back end with a browser: headless Chromium by Playwright, one for the process, each visitor in a context of its own.

A thread of its own runs the event loop of browser and server, so that environments on any loop, or on none, share them. When the
browser dies, actions under way raise `EnvironmentFailure`, and who comes next gets a new one. Names are resolved to nothing: the
browser reaches this machine alone, unless it was made for other hosts (`hosts.py`).
"""

import asyncio
import atexit
import contextlib
import socket
import threading
from collections.abc import Coroutine
from importlib import resources
from typing import Any, TypeVar

import uvicorn
from playwright.async_api import Browser, BrowserContext, Error, Page, Playwright, async_playwright

from agentgym import EnvironmentFailure
from agentgym.browsers import of_the_system
from agentgym.errors import NotInstalled

from .accessibility import read
from .backend import View, sends
from .site import COOKIE, Session, Site

T = TypeVar("T")
LOOPBACK = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # which names and addresses are reached, and as what
ARGUMENTS = ["--disable-component-update", "--disable-sync", "--force-webrtc-ip-handling-policy=disable_non_proxied_udp"]
# Pages that nobody looks at need no pictures: frames come on demand alone, and nothing demands them (animations stand still,
# screenshots never come); and a new document takes over what was made to show the one before. Together this halves what a page
# costs. The last list of features counts, so that those of Playwright's which matter here stand in it again.
STILL = [
    "--enable-begin-frame-control",
    "--run-all-compositor-stages-before-draw",
    "--disable-features=RenderDocument,AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,"
    "HttpsFirstBalancedModeAutoEnable,MediaRouter,ThirdPartyStoragePartitioning,OptimizationHints",
]
SECONDS = 30.0  # for one step of an action
LONGEST = 60.0  # seconds for a whole action, the browser's start included
SCRIPT = (resources.files(__package__) / "page.js").read_text()  # one round trip acts and tells what the page is then


class Chromium:
    """A browser of this process, and the servers of the sites that it visits.

    Args:
        rules: What it reaches (Chromium's host resolver rules).
        still: Whether it draws no frames.
    """

    def __init__(self, rules: str = LOOPBACK, still: bool = False) -> None:
        self._rules, self._still = rules, still
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
            program = of_the_system()
            try:
                arguments = [f"--host-resolver-rules={self._rules}", *ARGUMENTS, *(STILL if self._still else ())]
                self._browser = await self._playwright.chromium.launch(executable_path=program, args=arguments)
            except Error as error:
                if program is not None:
                    raise
                raise NotInstalled(
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
        opened.pop((self._rules, self._still), None)
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


opened: dict[tuple[str, bool], Chromium] = {}  # by what they reach, and whether they draw no frames


def chromium(rules: str = LOOPBACK, *, still: bool = False) -> Chromium:
    """The browser of this process that reaches what `rules` say."""
    if (rules, still) not in opened:
        opened[rules, still] = Chromium(rules, still)
    return opened[rules, still]


class BrowserBackend:
    """A visitor with a browser of their own.

    Elements are acted on by a script in their page: the sites have no scripts that could tell a hand from one, and what a hand
    needs (scrolling, looking whether the element moves or is covered, moving a mouse) costs five times as much as the rest. Keys
    are real.

    Args:
        site: Where to.
        session: Whose cookie to show.
    """

    def __init__(self, site: Site, session: Session) -> None:
        self._site, self._session = site, session
        self._chromium = chromium(still=True)
        self._context: BrowserContext | None = None
        self._tab: Page | None = None
        self._origin = ""
        self.broken = False

    async def goto(self, address: str) -> View:
        """Open a page."""
        return await self._run(self._goto(address))

    async def click(self, view: View, number: int) -> View:
        """As `Backend.click`."""
        control = view.page.controls[number - 1]
        leaves = control.kind == "link" or (control.kind == "button" and control.form >= 0)
        return await self._run(self._act("click", view, number, leaves=leaves))

    async def fill(self, view: View, number: int, text: str) -> View:
        """As `Backend.fill`."""
        return await self._run(self._act("hold", view, number, text))

    async def select(self, view: View, number: int, value: str) -> View:
        """As `Backend.select`."""
        return await self._run(self._act("hold", view, number, value))

    async def press(self, view: View, key: str) -> View:
        """As `Backend.press`."""
        return await self._run(self._press(view, key))

    async def show(self, view: View) -> None:
        """As `SiteBackend.show`.

        Raises:
            EnvironmentFailure: the page does not come back as it was.
        """
        if await self._run(self._shown(view)) != view:
            raise EnvironmentFailure(f"{view.address} did not come back as it was")

    async def aclose(self) -> None:
        """Close the context; that of a dead browser is closed already."""
        context, self._context, self._tab = self._context, None, None
        if context is not None:
            with contextlib.suppress(EnvironmentFailure):
                await self._chromium.run(context.close())

    async def _run(self, work: Coroutine[Any, Any, View]) -> View:
        try:
            return await self._chromium.run(work)
        except EnvironmentFailure:
            self.broken = True
            raise

    # ---- on the browser's loop -----------------------------------------------------------------------------------------------

    async def _goto(self, address: str) -> View:
        if self._tab is None:
            self._context, self._origin = await self._chromium.visit(self._site, self._session)
            self._tab = await self._context.new_page()
        await self._page.goto(self._origin + address, wait_until="commit")
        return await self._ask("look")

    async def _act(self, action: str, view: View, number: int, value: str = "", leaves: bool = False) -> View:
        node = view.page.controls[number - 1].node
        if not leaves:
            return await self._ask(action, node, value)
        async with self._page.expect_navigation(wait_until="commit"):
            await self._script(action, node, value, True)
        return await self._ask("look")

    async def _press(self, view: View, key: str) -> View:
        if key == "Enter" and sends(view):  # without scripts it is known what leads to another page
            async with self._page.expect_navigation(wait_until="commit"):
                await self._page.keyboard.press(key)
        else:
            await self._page.keyboard.press(key)
        return await self._ask("look")

    async def _shown(self, view: View) -> View:
        await self._goto(view.address)
        controls = view.page.controls
        fields = [[controls[n - 1].node, value] for n, value in view.fields.items()]
        return await self._ask("restore", None if view.focus is None else controls[view.focus - 1].node, fields)

    @property
    def _page(self) -> Page:
        if self._tab is None or self.broken:
            raise EnvironmentFailure("the browser broke before")
        return self._tab

    async def _ask(self, action: str, node: int | None = None, value: Any = "") -> View:
        """Act, and read the page that is there then."""
        status, address, html = await self._script(action, node, value, False)
        if not 0 < status < 500 or not address.startswith(self._origin):
            raise EnvironmentFailure(f"{address} answered with status {status}")
        page, fields, focus = read(html)
        return View(address.removeprefix(self._origin), page, fields, focus)

    async def _script(self, action: str, node: int | None, value: Any, leaves: bool) -> list[Any]:
        found: list[Any] | None = await self._page.evaluate(SCRIPT, [action, node, value, leaves])
        if found is None:
            raise EnvironmentFailure(f"an element of {self._page.url} is gone")
        return found
