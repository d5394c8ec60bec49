"""How quick the page is with much to show.

``python -m tests.benchmarks.view --json`` prints one line of JSON last, measured in headless Chromium, the best of five, on a
store of 50,000 episodes of four turns (and a tree of 5,000 actions), all of which were written just before:

- `open_s`: from opening the stores to the first rows of the list on the screen, the page's own files included;
- `filter_ms`: from the change of a filter to its rows on the screen, the slowest of eleven filters and orders; those that are typed
  include the wait for more keys;
- `tree_s`: from choosing the episode to its tree on the screen.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from agentgym_trajectories.store import Store
from tests.trajectories.viewed import chromium, grown, played, ready, served

EPISODES, ACTIONS, TIMES = 50_000, 5_000, 5
FILTERS = [
    ("success", "1"),
    ("mistake", "any"),
    ("mistake", "tool_error"),
    ("env", "code/Maths-v0"),
    ("version", "policy@bbbb2222"),
    ("sort", "tokens"),
    ("sort", "task"),
    ("task", "train-12"),
    ("difficulty", "hard"),
    ("tokens_min", "70"),
    ("reward_max", "0.5"),
]
CHANGE = """async ([name, value]) => {
    const field = ag.list.controls.elements[name];
    const drawn = async (change) => {
        const before = ag.list.asked, began = performance.now();
        change();
        while (ag.list.asked === before || ag.list.scroller.dataset.drawn !== String(ag.list.asked)) await new Promise(requestAnimationFrame);
        return performance.now() - began;
    };
    const took = await drawn(() => {
        field.value = value;
        field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input", {bubbles: true}));
    });
    const found = ag.list.total;
    ag.list.controls.reset();
    await drawn(() => ag.list.read());
    return [took, found];
}"""


def opened(path: Path, page: Page) -> float:
    """Seconds until the list is there."""
    began = time.perf_counter()
    with served(path) as address:
        page.goto(address)
        page.wait_for_selector(".row")
        return time.perf_counter() - began


def filtered(page: Page) -> dict[str, float]:
    """Milliseconds of each filter."""
    page.click("text=More filters")
    found = {}
    for name, value in FILTERS:
        took = []
        for _ in range(TIMES):
            milliseconds, left = page.evaluate(CHANGE, [name, value])
            assert 0 < left <= EPISODES + 1, (name, value)
            took.append(milliseconds)
        found[f"{name}={value}"] = round(min(took), 1)
    return found


def drawn(page: Page, row: int) -> tuple[float, int]:
    """Seconds until the tree is there, and how many actions it has."""
    began = time.perf_counter()
    page.evaluate(f"location.hash = '#e={row}&view=tree'")
    page.wait_for_selector("canvas[data-drawn]")
    took = time.perf_counter() - began
    actions = int(page.evaluate("document.querySelector('canvas').dataset.nodes"))
    page.evaluate("location.hash = ''")
    page.wait_for_selector("canvas", state="detached")
    return took, actions


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder)
        began = time.perf_counter()
        with Store(path, create=True) as store:
            for number in range(EPISODES):
                store.add(played(number))
            store.add(grown(ACTIONS))
        size = (path / "episodes.db").stat().st_size / 2**20
        print(f"{EPISODES:,} episodes, {size:,.0f} MiB, written in {time.perf_counter() - began:.1f} s", file=sys.stderr)
        page = browser.new_page()
        opens = [opened(path, page) for _ in range(TIMES)]
        with served(path) as address:
            ready(page, address)
            filters = filtered(page)
            trees = [drawn(page, EPISODES + 1) for _ in range(TIMES)]
    result = {
        "open_s": round(min(opens), 3),
        "filter_ms": max(filters.values()),
        "tree_s": round(min(t for t, _ in trees), 3),
        "episodes": EPISODES,
        "tree_actions": trees[0][1],
        "store_mib": round(size),
        "filters": filters,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
