"""``web/Browser-v0``: tasks of your own on any site that the browser may reach, judged by a function of your own."""

import contextlib
import hashlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin

import msgspec
from playwright.async_api import Error, Frame, Page, Request, Response, TimeoutError

from agentgym import EnvironmentFailure, Rubric, Task, Tasks, ToolError, UserError, tool
from agentgym_envs.code.rows import Row, split_by_hash, tasks_of

from .backend import View
from .browser import Chromium, chromium
from .env import LONGEST
from .hosts import LOOPBACK, Hosts
from .live import LiveEnvironment
from .tab import Tab

LOOKS = 20  # at a page that goes on to another one each time
AWAY = "this leads away from the site"
# Waits until nothing has changed for a while, and then looks.
PAUSE, MOST = 100, 2000  # milliseconds
SEE = """async ([pause, most]) => {
  await new Promise(done => {
    let timer = setTimeout(done, pause);
    const again = () => { clearTimeout(timer); timer = setTimeout(done, pause); };
    new MutationObserver(again).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
    setTimeout(done, most);
  });
  return window.agentgym ? agentgym.look() : document.documentElement.outerHTML;
}"""


class Ended(msgspec.Struct, frozen=True):
    """How an episode ended, for the check of its task.

    Attributes:
        task: What was to be done; its `data` has all fields of its row.
        answer: What the agent gave to `finish`, or said last.
        address: Of the page where it was.
        title: Of that page.
        text: The page as the agent reads it.
    """

    task: Task
    answer: str
    address: str
    title: str
    text: str


class SiteTab(Tab):
    """A tab that stays on certain hosts. What a page opens in another tab is opened in this one.

    Args:
        browser: One that reaches these hosts alone.
        hosts: Where it may be.

    Attributes:
        notice: Why the last action did not lead where it should have; empty when it did.
    """

    def __init__(self, browser: Chromium, hosts: Hosts) -> None:
        super().__init__(browser)
        self.hosts, self.notice = hosts, ""
        self._last = ""  # address that was seen last
        self._asked = ""  # ... that the tab asked for last
        self._broken = ""  # what the site answered when it broke
        self._pending: set[Request] = set()
        self._wanted = ""  # ... that a page wanted to open in another tab
        self._popups: list[Page] = []  # those tabs

    async def _open(self) -> Page:
        if self._tab is None:
            tab = await super()._open()
            tab.on("request", self._requested)
            tab.on("requestfinished", self._answered)
            tab.on("requestfailed", self._answered)
            tab.on("response", self._responded)
            tab.on("dialog", lambda dialog: dialog.accept())
            tab.context.on("page", self._popped)
            session = await tab.context.new_cdp_session(tab)
            session.on("Page.windowOpen", self._window)
            await session.send("Page.enable")
        return self._page

    def _leads(self, request: Request) -> Frame | None:
        """The frame, where a request leads the tab itself to another page."""
        frame = request.frame if request.is_navigation_request() else None
        return frame if self._tab is not None and frame is self._tab.main_frame else None

    def _requested(self, request: Request) -> None:
        if self._leads(request):
            self._pending.add(request)
            self._asked = request.url

    def _answered(self, request: Request) -> None:
        self._pending.discard(request)

    def _popped(self, page: Page) -> None:
        self._popups.append(page)

    def _window(self, event: dict[str, Any]) -> None:
        self._wanted = event["url"]

    def _responded(self, response: Response) -> None:
        if response.status >= 500 and self._leads(response.request):
            self._broken = f"{response.url} answered with status {response.status}"

    async def _goto(self, address: str) -> View:
        await self._visit(address)
        return await self._look()

    async def _visit(self, address: str) -> None:
        page = await self._open()
        try:
            await page.goto(address, wait_until="domcontentloaded")
        except Error as error:  # `_look` sees where that led
            if "net::" not in error.message and "navigat" not in error.message:
                raise

    async def _look(self) -> View:
        self.notice = ""
        html = await self._settled()
        while self._popups:
            await self._popups.pop().close()
        wanted, self._wanted = self._wanted, ""
        if self.hosts.allow(wanted):
            await self._visit(wanted)
            html = await self._settled()
        elif wanted not in ("", "about:blank"):
            self.notice = AWAY
        if self._broken:
            raise EnvironmentFailure(self._broken)
        if not self.hosts.allow(self._page.url):
            html = await self._returned()
        self._last = self._page.url
        return self._seen(self._last, html)

    async def _returned(self) -> str:
        """Go back to where the agent was."""
        failed = self._page.url.startswith("chrome-error:") and self.hosts.allow(self._asked)
        self.notice = f"{self._asked} cannot be opened" if failed else AWAY
        if not self._last:
            raise EnvironmentFailure(self.notice)
        await self._visit(self._last)
        html = await self._settled()
        if not self.hosts.allow(self._page.url):
            raise EnvironmentFailure(f"{self._last} cannot be opened again")
        return html

    async def _settled(self) -> str:
        """The page's HTML, once it has come and nothing on it changes any more."""
        for _ in range(LOOKS):
            try:
                with contextlib.suppress(TimeoutError):  # a picture that never comes
                    await self._page.wait_for_load_state(timeout=MOST)
                html = await self._page.evaluate(SEE, [PAUSE, MOST])
            except Error as error:
                if "navigati" not in error.message:
                    raise
                continue  # it went on to another page
            if not self._pending:
                return str(html)
            with contextlib.suppress(Error):
                await self._page.wait_for_event("framenavigated")
        raise EnvironmentFailure(f"{self._page.url} goes on to other pages without end")


class AnySite(LiveEnvironment):
    """Tasks of your own on any site: a first page, what to do, and a Python function that says whether it was done.

    Each episode has a fresh context of the browser: no cookies, nothing stored. Only the hosts of the allow-list are reached, and
    what happens on the site's own servers is the site's: whoever returns to a state (search) does the same again, which the key
    of the page's document checks.

    Args:
        data: A file or directory of JSON lines (see `convert`). None for classes of your own that override `tasks` and `check`.
        hosts: The allow-list (see `Hosts`): hosts with or without a port.

    Raises:
        UserError: an entry of the allow-list that is none.
    """

    instructions = (
        "You use web pages by tools. Each answer shows the page as text: elements have a number in brackets, by which you click, "
        "type and select; shapes are shown with their middle in pixels. A long page is shown in parts: scroll. Call finish when "
        "the task is done, with the answer if one was asked for."
    )
    max_turns = 30
    rubric = Rubric(solved=1.0)
    _backend: SiteTab | None = None

    def __init__(self, data: str | None, hosts: Sequence[str] = LOOPBACK) -> None:
        self.data, self.hosts = data, Hosts((hosts,) if isinstance(hosts, str) else hosts)

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the file.

        Raises:
            UserError: the file is none, or a task begins on a host that is not allowed.
        """
        assert self.data is not None
        tasks = tasks_of(self.data, convert, split)
        for task in tasks:
            if not self.hosts.allow(task.data["start"]):
                raise UserError(f"task {task.id!r} starts at {task.data['start']}: allow its host with hosts=[...]")
        return tasks

    def check(self, ended: Ended) -> Any:
        """How well the task was done, in [0, 1]; may be a coroutine function. By default what the row's function says."""
        return _function(ended.task.data["check"])(ended)

    async def open(self, task: Task) -> View:
        """The task's first page, as for a visitor who has never been here."""
        await self.aclose()
        self._backend = SiteTab(chromium(self.hosts.rules), self.hosts)
        view = await self._backend.goto(task.data["start"])
        if self._backend.notice:
            raise EnvironmentFailure(f"task {task.id!r} cannot begin: {self._backend.notice}")
        return view

    @tool
    async def goto(self, address: str) -> str:
        """Open a page by its address.

        Args:
            address: A whole address such as http://localhost:8000/cart, or a path on this site such as /cart.
        """
        whole = urljoin(self.state.view.address, address)
        if len(address) > LONGEST or not self.hosts.allow(whole):
            raise ToolError("this is no address of a page that may be visited")
        return self._moved(await self._acting.goto(whole))

    def _stays(self, address: str) -> bool:
        return address.lower().startswith("javascript:") or self.hosts.allow(urljoin(self.state.view.address, address))

    def _moved(self, view: View, history: tuple[str, ...] | None = None) -> str:
        seen = super()._moved(view, history)
        if self._backend is not None and self._backend.notice:
            raise ToolError(self._backend.notice)
        return seen

    def score(self, answer: str) -> Any:
        """What the check says.

        Raises:
            EnvironmentFailure: it failed, or said something else than a number in [0, 1].
        """
        return self._judged(answer)

    async def _judged(self, answer: str) -> Mapping[str, float]:
        view = self.state.view
        text = "\n".join(view.page.text(view.fields, view.focus))
        try:
            said = self.check(Ended(self.task, answer, view.address, view.page.title, text))
            value = float(await said if inspect.isawaitable(said) else said)
        except Exception as error:
            raise EnvironmentFailure(f"the check of task {self.task.id!r} failed: {type(error).__name__}: {error}") from error
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise EnvironmentFailure(f"the check of task {self.task.id!r} said {value}: expected a number from 0 to 1")
        return {"solved": value}


def convert(row: Row, named: str) -> Task:
    """A row as a task.

    ===================  ====================================================================================
    ``start``            address of the first page
    ``instruction``      what is asked for
    ``check``            ``module:function``, called with an `Ended`: whether it was done, or how well, in [0, 1]
    ``id``, ``split``    optional, and so is anything else that the check may want to know
    ===================  ====================================================================================

    Raises:
        KeyError, TypeError, ValueError: it is no such row.
    """
    start, text, check = row["start"], row["instruction"], row["check"]
    if not all(isinstance(value, str) for value in (start, text, check)):
        raise TypeError("start, instruction and check are texts")
    _function(check)
    identity = f"{start} {text} {check}"
    number = row.get("id") or hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
    return Task(text, row, str(number), row.get("split") or named or split_by_hash(identity))


def _function(name: str) -> Callable[[Ended], Any]:
    """The function that ``module:function`` names.

    Raises:
        ValueError: there is none.
    """
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no check {name!r} ({error})") from error
    if not callable(found):
        raise ValueError(f"the check {name!r} is no function")
    return found  # type: ignore[no-any-return]
