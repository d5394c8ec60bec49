"""BrowserGym (`browsergym-miniwob`) on click-test, as it comes: 0.1 s between Playwright's steps, 0.5 s before each observation.

An observation is a screenshot, the DOM and the accessibility tree. It brings no pages: those of the `miniwob` package are taken
from the environment of the other peer. Episodes a second of the clock, since the browser does the work.
"""

import functools
import os
import shutil

from tests.benchmarks.chain import report_clock
from tests.benchmarks.peers import VENVS

PAGES = next(VENVS.glob("miniwob_selenium/lib/python*/site-packages/miniwob/html/miniwob"), None)
if PAGES is None:
    raise SystemExit("there are no pages: the peer miniwob_selenium brings them")
os.environ["MINIWOB_URL"] = f"{PAGES.as_uri()}/"

import browsergym.miniwob  # noqa: E402, F401  (it registers its tasks, and wants to know where the pages are)
import gymnasium  # noqa: E402
from playwright.sync_api import BrowserType  # noqa: E402

# It starts a second browser, for its chat, to which no path can be given.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
BrowserType.launch = functools.partialmethod(BrowserType.launch, executable_path=CHROMIUM)


def run(episodes: int) -> None:
    env = gymnasium.make("browsergym/miniwob.click-test")
    for seed in range(episodes):
        env.reset(seed=seed)
        button = env.unwrapped.page.locator("#subbtn").get_attribute("bid")
        _, reward, terminated, *_ = env.step(f"click('{button}')")
        assert (reward, terminated) == (1.0, True)
    env.close()


if __name__ == "__main__":
    report_clock(run)
