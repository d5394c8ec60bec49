"""BrowserGym (`browsergym-miniwob`) on click-test, as it comes: 0.1 s between Playwright's steps, 0.5 s before each observation.

An observation is a screenshot, the DOM and the accessibility tree. It brings no pages: those of the `miniwob` package are taken
from the environment of the other peer. Episodes a second of the clock, since the browser does the work.
"""

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


def run(episodes: int) -> None:
    chromium = {"executable_path": shutil.which("chromium-headless-shell") or shutil.which("chromium")}
    env = gymnasium.make("browsergym/miniwob.click-test", pw_chromium_kwargs=chromium)
    for seed in range(episodes):
        env.reset(seed=seed)
        button = env.unwrapped.page.locator("#subbtn").get_attribute("bid")
        _, reward, terminated, *_ = env.step(f"click('{button}')")
        assert (reward, terminated) == (1.0, True)
    env.close()


if __name__ == "__main__":
    report_clock(run)
