"""The driver of the `miniwob` package itself, by Selenium, on click-test; chromedriver has to be installed beside Chromium.

An observation is a screenshot and the DOM as a tuple of elements. Episodes a second of the clock, since the browser does the work.
"""

import os
import shutil

import gymnasium
import miniwob
from miniwob.action import ActionTypes

from tests.benchmarks.chain import report_clock


def run(episodes: int) -> None:
    gymnasium.register_envs(miniwob)
    env = gymnasium.make("miniwob/click-test-v1")
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        button = next(element for element in observation["dom_elements"] if element["tag"] == "button")
        action = env.unwrapped.create_action(ActionTypes.CLICK_ELEMENT, ref=button["ref"])
        _, reward, terminated, *_ = env.step(action)
        assert reward > 0
        assert terminated
    env.close()


if __name__ == "__main__":
    driver, browser = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("chromium-headless-shell")
    if driver is None or browser is None:
        raise SystemExit("there is no chromedriver")
    os.environ |= {"MINIWOB_CHROME_BINARY": browser, "MINIWOB_CHROMEDRIVER": driver}
    report_clock(run)
