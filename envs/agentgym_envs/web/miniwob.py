"""``web/MiniWoB-v0``: the pages of MiniWoB++ (Shi et al. 2017; Liu et al. 2018, arXiv:1802.08802), driven without Selenium.

The pages come from the wheel of the `miniwob` package; its Python code is not used. A tab is kept, and so is a page that is
played again where its episodes leave nothing behind (`UNTIDY` names those that are loaded anew). The page's clock stands still
while the agent thinks: each action lets a second pass, in which what the page animates comes to its end. So how fast a model is
decides nothing, the pages' limits of ten seconds or so do not end an episode (`max_turns` does), and a seed and the same actions
always lead to the same page.
"""

import functools
import importlib.util
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from agentgym import SPLITS, Rubric, Task, Tasks, UserError
from agentgym.tasks import check_split
from agentgym.tools import ToolSet, tools_of_class

from .backend import View
from .browser import chromium
from .live import LiveEnvironment
from .tab import SCRIPTS, SECOND, Tab

CLOCK = SCRIPTS.joinpath("clock.js").read_text()
ELSEWHERE = ("goto", "back", "search")  # tools that one page has no use for
PARTS = {"train": (0, 1), "validation": (2,), "test": (3,)}  # remainders, by four, of a split's seeds
AWAY = (1000, 700)  # a point that no page covers: what the mouse was on when another episode ended is not touched
# Found by random walks, begun in place and on the page as loaded: documents, observations and rewards were compared.
UNTIDY = frozenset((
    "book-flight", "book-flight-nodelay", "chase-circle", "click-dialog", "click-menu-2", "click-pie", "drag-items",
    "drag-items-grid", "drag-sort-numbers", "form-sequence", "moving-items", "scroll-text", "scroll-text-2", "search-engine",
    "simon-says", "social-media", "use-autocomplete", "use-autocomplete-nodelay", "use-colorwheel", "use-colorwheel-2",
    "use-slider", "use-slider-2", "use-spinner",
))  # fmt: skip
LIMIT = 2**31 - 1  # milliseconds: the longest that a timer can wait
START = """([seed, mode, limit]) => {
  if (!document.getElementById('agentgym')) {
    const style = document.createElement('style');
    style.id = 'agentgym';
    style.textContent = '* { transition: none !important; animation: none !important }' +
      '#reward-display, #click-canvas { display: none !important }';
    document.head.append(style);
  }
  if (document.activeElement) document.activeElement.blur();
  for (const element of document.querySelectorAll('[data-tampered]')) delete element.dataset.tampered;
  agentgymClock.restart();
  WOB_EPISODE_ID = 0;
  Math.seedrandom(seed);
  core.setDataMode(mode);
  core.EPISODE_MAX_TIME = limit;
  core.startEpisodeReal();
  core.clearTimer();
}"""
SEE = """passing => {
  agentgymClock.pass(passing);
  return [agentgym.look(), WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL];
}"""


@functools.cache
def folder() -> Path:
    """Where the pages are.

    Raises:
        UserError: the package is not installed.
    """
    found = importlib.util.find_spec("miniwob")
    if found is None or not found.submodule_search_locations:
        raise UserError("web/MiniWoB-v0 needs the pages of the miniwob package: pip install 'agentgym[miniwob]'")
    return Path(found.submodule_search_locations[0]) / "html" / "miniwob"


@functools.cache
def pages() -> tuple[str, ...]:
    """The names of all pages, such as "click-test", in alphabetical order."""
    return tuple(sorted(page.stem for page in folder().glob("*.html")))


class MiniWoBTab(Tab):
    """A tab on one of the pages.

    Attributes:
        reward: The page's raw reward, once it has ended.
    """

    reward: float | None = None
    page = ""  # that is loaded

    async def start(self, page: str, seed: int, mode: str) -> View:
        """Load a page and begin an episode with this seed."""
        return await self._do(self._start(page, seed, mode))

    async def _start(self, page: str, seed: int, mode: str) -> View:
        known, tab = self._tab is not None and self.page == page and page not in UNTIDY, await self._open()
        await tab.mouse.move(*AWAY)
        if not known:
            await tab.goto((folder() / f"{page}.html").as_uri())
            self.page = page
        await tab.evaluate(START, [seed, mode, LIMIT])
        return await self._look()

    async def _wait(self) -> View:
        return await self._look()  # a second passes with each look

    async def _look(self) -> View:
        html, done, reward = await self._page.evaluate(SEE, SECOND)
        self.reward = float(reward) if done else None
        return self._seen(self.page, html)


class MiniWoB(LiveEnvironment):
    """Do what a small web page asks for: click, type, choose, drag, search and book on the 130 pages of MiniWoB++.

    The reward is the page's own before any discount for time, in [-1, 1], and a task is solved when it is 1; who gives up gets
    the -1 that the page gives when time runs out. A task is a page with a seed and called so, as in ``click-test/17``; those of
    train have the seeds 0, 1, 4, 5 and so on, validation 2, 6, 10, test 3, 7, 11. Some pages have other words for test.

    Args:
        page: Name of one page; None takes all in turn.

    Raises:
        UserError: there is no such page, or the `miniwob` package is not installed.
    """

    instructions = (
        "You use a web page by tools. Its first lines say what to do. Each answer shows the page as text: elements have a number "
        "in brackets, by which you click, type and select; shapes are shown with their middle in pixels, by which you click and "
        "drag. When all is done, the task ends by itself."
    )
    max_turns = 30
    rubric = Rubric(reward=1.0)
    _backend: MiniWoBTab | None = None

    def __init__(self, page: str | None = None) -> None:
        if page is not None and page not in pages():
            raise UserError(f"MiniWoB has no page {page!r}: use one of {', '.join(pages())}")
        self.pages = pages() if page is None else (page,)

    @cached_property
    def tools(self) -> ToolSet:
        """Those for one page."""
        return ToolSet([t for t in tools_of_class(type(self)) if t.name not in ELSEWHERE], self)

    def tasks(self, split: str = "train") -> Tasks:
        """All pages in turn, each time with the next of the split's seeds."""
        parts = PARTS[check_split(split)]

        def get(i: int) -> Task:
            turn, page = divmod(i, len(self.pages))
            turn, part = divmod(turn, len(parts))
            return _task(self.pages[page], 4 * turn + parts[part])

        return Tasks(get, range(sys.maxsize))

    def find_task(self, task_id: str) -> Task:
        """As in `Environment`: the page and its seed."""
        page, _, seed = task_id.partition("/")
        if page not in self.pages or not (seed.isascii() and seed.isdigit() and len(seed) < 16):
            raise UserError(f"there is no task {task_id!r}: ids look like '{self.pages[0]}/17'")
        return _task(page, int(seed))

    async def open(self, task: Task) -> View:
        """Load the page."""
        if self._backend is None:
            self._backend = MiniWoBTab(chromium(), CLOCK, timezone_id="UTC", locale="en-US")
        return await self._backend.start(task.data["page"], task.data["seed"], "test" if task.split == "test" else "train")

    def _moved(self, view: View, history: tuple[str, ...] | None = None) -> str:
        seen = super()._moved(view, history)
        if self._backend is not None and self._backend.reward is not None:
            self.end()
            return "The page has ended the task."
        return seen

    def score(self, answer: str) -> Mapping[str, float]:
        """The page's raw reward."""
        reward = None if self._backend is None else self._backend.reward
        return {"reward": -1.0 if reward is None else reward}


def _task(page: str, seed: int) -> Task:
    split = next(name for name in SPLITS if seed % 4 in PARTS[name])
    return Task("", {"page": page, "seed": seed}, f"{page}/{seed}", split)
