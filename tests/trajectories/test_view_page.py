"""The page in a real browser: reading, comparing, following, and what hostile episodes cannot do to it."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from agentgym import ErrorCategory, Message, StopReason, Task, ToolCall, assistant, user
from agentgym_trajectories import pairs as pairing
from agentgym_trajectories import select as selecting
from agentgym_trajectories.store import FILE, Store
from agentgym_trajectories.tree import Episode
from agentgym_trajectories.view import listing
from agentgym_trajectories.view.export import write
from agentgym_trajectories.view.run import Run
from tests.trajectories.viewed import chromium, grown, played, ready, served

pytestmark = pytest.mark.xdist_group("browser")
COUNT = 150
# Each of these runs, loads or breaks out of something when it is taken for markup.
EVIL = "<script>hacked=1</script><img src=x onerror=hacked=1><a href='javascript:hacked=1'>x</a></textarea></script>\"'>`${hacked=1}`\u2028\u202e\x00"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may neither complain nor ask anybody but this machine for anything."""
    context = browser.new_context(viewport={"width": 1300, "height": 800}, color_scheme="light")
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        said.append(message.text)

    opened.on("console", heard)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    expected = getattr(opened, "expected", "")
    assert [text for text in said if not (expected and expected in text)] == []
    assert all(url.startswith(("http://127.0.0.1:", "file:///")) for url in asked)
    context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("viewed")
    with Store(path, create=True) as store:
        for number in range(COUNT):
            store.add(played(number))
        store.add(grown(300))
        store.add_pairs("default", pairing.make_pairs(store.groups(), *pairing.parse(["step:theta=0.3", "cap:pairs=4"])))
        store.add_selection("good", selecting.apply(store.trajectories(), [selecting.Reward()]))
    return path


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as found:
        yield found


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What the condition comes to; the page's policy lets no strings be waited for, and what is not in sight yet has no text."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def open_episode(page: Page, row: int, view: str = "conversation") -> None:
    page.evaluate(f"location.hash = '#e={row}&view={view}'")
    page.wait_for_selector(f".shows-{view}")
    until(lambda: page.evaluate("ag.right.target?.id") == row)


# ---- reading ---------------------------------------------------------------------------------------------------------------------


def test_the_list_is_read_with_keys(page: Page, address: str) -> None:
    ready(page, address)
    until(lambda: page.inner_text(".told").startswith(f"{COUNT + 1} episodes"))
    assert 5 < page.locator(".row").count() < 60  # only what is in sight exists
    page.keyboard.press("j")
    page.wait_for_selector("h2:has-text('train-tree-0')")
    page.keyboard.press("j")
    page.wait_for_selector("h2:has-text('train-74')")
    until(lambda: page.inner_text(".conversation .message.user") == f"USER\nCustomer {COUNT - 1}: Please look after my order.")
    assert page.locator(".call[open]").count() == 0
    page.keyboard.press("e")
    until(lambda: page.inner_text(".call[open] .argument >> nth=0") == f"order_id\nO{COUNT - 1}")
    page.keyboard.press("End")
    page.wait_for_selector("h2:has-text('train-0')")
    until(lambda: page.locator(".row[aria-selected=true]").inner_text().splitlines()[:2] == ["✓", "train-0"])
    page.keyboard.press("4")
    page.wait_for_selector(".facts:has-text('desk/Orders-v0')")
    page.keyboard.press("?")
    assert page.is_visible("dialog kbd:has-text('j, k')")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("train-7")
    until(lambda: page.evaluate("ag.list.total") == 12)  # 7 and 70 to 74
    page.keyboard.press("Escape")
    page.reload()
    page.wait_for_selector("h2:has-text('train-0')")  # the address keeps what was open


def test_filters_and_search(page: Page, address: str) -> None:
    ready(page, address)
    page.select_option("[name=success]", "1")
    until(lambda: page.inner_text(".told").startswith("50 episodes"))
    page.select_option("[name=mistake]", "tool_error")
    until(lambda: page.inner_text(".told").startswith("5 episodes"))
    page.click("text=Clear")
    page.click("text=More filters")
    page.fill("[name=reward_min]", "0.999")
    until(lambda: page.inner_text(".told").startswith("50 episodes"))
    page.click("text=Clear")
    page.select_option("[name=tag]", "selection good")
    until(lambda: "100.0 % solved" in page.inner_text(".told"))
    page.click("text=Clear")
    page.fill("[name=text]", "customer 17:")
    until(lambda: "1 episode found, in 151 of 151" in page.inner_text(".told"))
    page.fill("[name=text]", "")
    page.select_option("[name=sort]", "tokens")
    page.click("[title='Turn the order round']")
    until(lambda: page.inner_text(".row >> nth=0").count("train-tree"))
    page.fill("[name=task]", "no such task")
    until(lambda: page.inner_text(".told") == "No episode is left by these filters.")
    assert page.locator(".row").count() == 0


def test_rewards_by_part_and_turn(page: Page, address: str) -> None:
    ready(page, address)
    open_episode(page, 1)
    until(lambda: " ".join(page.inner_text(".sums summary").split()) == "Reward 1 solved 1 tidy 0.5")
    page.click(".sums summary")
    lines = [" ".join(line.split()) for line in until(lambda: page.inner_text(".rewards")).splitlines()]
    assert lines == ["turn solved tidy reward", "1 0", "2 0", "3 0", "4 1 0.5 1", "sum 1 0.5 1"]
    until(lambda: page.inner_text(".message footer >> nth=0").split() == ["tool_error", "20", "tokens"])


def test_dark_and_light(page: Page, address: str) -> None:
    ready(page, address)
    back = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(back)
    page.keyboard.press("d")
    until(lambda: page.evaluate(back) != light)
    page.reload()
    page.wait_for_selector("body[data-ready]")  # keys are heard from then on
    until(lambda: page.evaluate("document.documentElement.dataset.theme") == "dark")
    page.keyboard.press("d")
    until(lambda: page.evaluate(back) == light)


# ---- tokens ----------------------------------------------------------------------------------------------------------------------


def test_tokens_are_coloured_by_what_is_known_of_them(page: Page, tmp_path: Path) -> None:
    with Store(tmp_path / "rollouts", create=True) as store:
        episode = played(1, turns=2)
        episode.version = "update-3"
        store.add(episode)
    (tmp_path / "tokens").mkdir()
    advantages = np.linspace(-1, 1, 40)
    new = np.array(episode.nodes[1].logprobs + episode.nodes[3].logprobs) + 0.5
    np.savez_compressed(
        tmp_path / "tokens/update-3.npz", episode=[1, 1], node=[1, 3], tokens=[20, 20], advantages=advantages, new=new
    )
    with served(tmp_path) as address:
        ready(page, address)
        open_episode(page, 1, "tokens")
        until(lambda: page.locator(".tokens span").count() == 20 + 15 + 20)
        until(lambda: page.locator(".tokens .on").count() == 40)
        until(lambda: "ids are shown" in page.inner_text(".tokenview"))
        shades = page.eval_on_selector_all(".tokens .on", "spans => spans.map(s => s.className)")
        expected = [round(float(a) * 9) for a in advantages]
        assert [int(s[4:] or 0) if s[3:4] == "u" else -int(s[4:] or 0) for s in shades] == expected
        page.hover(".tokens .on >> nth=0")
        until(lambda: "advantage -1" in page.inner_text(".reader"))
        until(lambda: f"new {new[0]:.4f}" in page.inner_text(".reader"))
        page.click("text=Change")
        assert set(page.eval_on_selector_all(".tokens .on", "spans => spans.map(s => s.className)")) <= {"on u4", "on u5"}
        page.click("text=Mask")
        assert page.locator(".tokens .off[class*=u]").count() == 0
        until(lambda: page.locator(".tokens .on[class*=u]").count() == 40)
        page.click("text=Logprob")
        worst = round(9 * max(-1, min(episode.nodes[1].logprobs) / 4))
        until(lambda: page.locator(f".tokens .d{-worst}").count() > 0)


def test_without_tokens_the_page_says_so(page: Page, tmp_path: Path) -> None:
    episode = played(1)
    for node in episode.nodes:
        node.token_ids = node.logprobs = None
    with Store(tmp_path, create=True) as store:
        store.add(episode)
    with served(tmp_path) as address:
        ready(page, address)
        open_episode(page, 1, "tokens")
        until(lambda: "has no tokens" in page.inner_text(".body"))


# ---- trees -----------------------------------------------------------------------------------------------------------------------


def test_a_tree_is_walked_and_its_pairs_are_compared(page: Page, address: str, folder: Path) -> None:
    with Store(folder) as store:
        tree = store.episode(COUNT + 1)
        best = max(tree.trajectories(), key=lambda t: t.reward)
        pair = next(store.pairs("default"))
    ready(page, address)
    open_episode(page, COUNT + 1, "tree")
    canvas = "document.querySelector('canvas').dataset"
    until(lambda: page.evaluate(f"{canvas}.nodes") == "300")
    assert 0 < int(page.evaluate(f"{canvas}.drawn")) < 300  # what is out of sight is not drawn
    earned = f"{best.reward:.3f}".rstrip("0")
    until(lambda: earned in page.inner_text(".side .facts"))  # it begins at the end of the path that earned most
    page.focus("canvas")
    page.keyboard.press("ArrowLeft")
    above = tree.before(best.leaf)
    assert above is not None
    until(lambda: f"{above.value:.4f}".rstrip("0") in page.inner_text(".side .facts"))
    page.keyboard.press(" ")
    below = sum(1 for t in [above] for n in tree.nodes if n.kind == "action" and _under(tree, n, t))
    until(lambda: page.evaluate(f"{canvas}.nodes") == str(300 - below))
    page.keyboard.press("h")
    until(lambda: page.evaluate(f"{canvas}.nodes") == "300")
    page.keyboard.press("f")
    until(lambda: page.evaluate(f"{canvas}.drawn") == "300")
    page.keyboard.press("Enter")
    page.wait_for_selector(".shows-conversation .ending")
    until(lambda: page.locator(".message.assistant").count() == len(best.actions))
    chosen, rejected = pair.chosen.leaf.id, pair.rejected.leaf.id
    page.evaluate(f"location.hash = '#e={COUNT + 1}&view=tree&leaf={chosen}'")
    page.wait_for_selector("canvas")
    view = "document.querySelector('.treeview')"
    assert page.evaluate(f"{view} !== null")
    page.evaluate("document.querySelector('canvas').focus()")
    _walk_to(page, tree, best.leaf.id, chosen)
    until(lambda: page.evaluate("document.querySelector('.side').dataset.action") == str(chosen))
    page.click(".pair:has-text('chosen') button >> nth=0")
    page.wait_for_selector(".pane.pinned .ending")
    page.wait_for_selector(".parting, .pane:not(.pinned) .ending")
    shown = page.evaluate("[ag.left.leaf, ag.right.leaf]")
    assert shown[0] == chosen
    assert rejected in [p.rejected.leaf.id for p in Store(folder).pairs("default") if p.chosen.leaf.id == chosen]
    page.wait_for_selector(".pane:not(.pinned) .parting")


def _under(tree: Episode, node: Any, above: Any) -> bool:
    at = tree.before(node)
    while at is not None:
        if at.id == above.id:
            return True
        at = tree.before(at)
    return False


def _walk_to(page: Page, tree: Episode, start: int, end: int) -> None:
    """By the keys alone: up to the first actions, then down to the one that is wanted."""
    ends = [n.id for n in tree.trajectory(end).actions]
    for _ in tree.trajectory(start).actions[1:]:
        page.keyboard.press("ArrowLeft")
    at = tree.trajectory(start).actions[0].id
    for wanted in ends:
        siblings = [n.id for n in tree.nodes if n.kind == "action" and n.parent == tree.nodes[wanted].parent]
        if at not in siblings:
            page.keyboard.press("ArrowRight")
            at = siblings[0]
        for _ in range(abs(siblings.index(wanted) - siblings.index(at))):
            page.keyboard.press("ArrowDown" if siblings.index(wanted) > siblings.index(at) else "ArrowUp")
        at = wanted


def test_a_search_that_is_mostly_roll_outs_can_hide_them(page: Page, tmp_path: Path) -> None:
    tree = grown(120)
    for node in tree.nodes:
        if node.kind == "action" and tree.before(node) is not None:
            node.visits, node.value = 0, None
    with Store(tmp_path, create=True) as store:
        store.add(tree)
    with served(tmp_path) as address:
        ready(page, address)
        open_episode(page, 1, "tree")
        canvas = "document.querySelector('canvas').dataset.nodes"
        until(lambda: page.evaluate(canvas) == "120")
        page.click("text=Hide roll-outs")
        until(lambda: page.evaluate(canvas) == "4")
        page.click("text=Hide roll-outs")
        until(lambda: page.evaluate(canvas) == "120")
        page.mouse.move(700, 400)
        page.mouse.wheel(0, -800)
        page.mouse.down()
        page.mouse.move(300, 300, steps=3)
        page.mouse.up()
        until(lambda: page.evaluate(canvas) == "120")


# ---- side by side, and live --------------------------------------------------------------------------------------------------------


def test_two_episodes_side_by_side(page: Page, address: str) -> None:
    ready(page, address)
    open_episode(page, 1)
    page.keyboard.press("c")
    page.wait_for_selector(".pane.pinned .ending")
    page.keyboard.press("k")
    page.wait_for_selector(".pane:not(.pinned) h2:has-text('train-0')")
    until(lambda: page.evaluate("ag.right.target.id") == 2)
    heads = [h.inner_text() for h in page.locator("h2").all()[:2]]
    assert "#0" in heads[0]
    assert "#1" in heads[1]
    page.wait_for_selector(".pane:not(.pinned) .ending")
    page.keyboard.press("Escape")
    until(lambda: page.locator(".pane").count() == 1)


def test_a_run_is_followed_while_it_is_made(page: Page, tmp_path: Path) -> None:
    with Store(tmp_path / "round-1", create=True) as store, served(tmp_path) as address:
        store.add(played(0))
        store.flush()
        ready(page, address)
        page.evaluate("ag.LIVE")
        page.keyboard.press("j")
        page.wait_for_selector("h2:has-text('train-0')")
        for number in range(1, 6):
            store.add(played(number))
        store.flush()
        until(lambda: page.inner_text(".told").startswith("6 episodes"))
        until(lambda: page.locator(".row[aria-selected=true]").inner_text().splitlines()[:2] == ["✓", "train-0"])
        with Store(tmp_path / "round-2", create=True) as second:
            second.add(played(7))
        until(lambda: page.locator("#bar option").count() == 2)
        page.select_option("#bar select", "1")
        until(lambda: page.inner_text(".told").startswith("1 episode"))


# ---- hostile and damaged -------------------------------------------------------------------------------------------------------------


def hostile() -> Episode:
    """An episode that says it everywhere where anything can be said."""
    task = Task(EVIL, {EVIL: EVIL}, EVIL, split="train", difficulty=EVIL)
    episode = Episode(EVIL, task, 0, EVIL + "+" + EVIL, {EVIL: EVIL}, EVIL)
    episode.tools = ({"type": "function", "function": {"name": EVIL, "description": EVIL, "parameters": {EVIL: EVIL}}},)
    first = episode.add(-1, "observation", (Message("system", EVIL), user(EVIL)), token_ids=[1], state_key=EVIL)
    call = ToolCall(EVIL, {EVIL: EVIL, "deep": {EVIL: [EVIL]}}, EVIL, EVIL)
    said = assistant(EVIL, call, thinking=EVIL)
    acted = episode.add(first.id, "action", (said,), token_ids=[2], logprobs=[-1.0], reward=0.5, version=EVIL)
    acted.rewards, acted.errors, acted.state_key = {EVIL: 0.5}, (ErrorCategory.BAD_FORMAT,), EVIL
    acted.visits, acted.value = 3, 0.5
    seen = episode.add(acted.id, "observation", (Message("tool", EVIL, (), EVIL, EVIL),), token_ids=[3])
    for success in (True, False):
        end = episode.add(
            seen.id, "action", (Message("assistant", EVIL, malformed=EVIL),), reward=float(success), success=success
        )
        end.end, end.rewards = StopReason.TERMINATED, {EVIL: 1.0}
    return episode


def look_at_everything(page: Page) -> None:
    """Open every view and every fold of the first episode."""
    for view in ("conversation", "tokens", "tree", "details"):
        open_episode(page, 1, view)
        page.wait_for_selector(f".shows-{view} > *")
        for _ in range(4):
            page.evaluate("document.querySelectorAll('.pane details').forEach((d) => { d.open = true; })")
            time.sleep(0.05)
        assert page.evaluate("typeof hacked") == "undefined"
        assert page.locator("img, iframe, object, embed, a[href^=javascript], script:not([src])").count() == 0
    page.evaluate("location.hash = '#e=1&view=conversation&with=0,1,'")
    page.wait_for_selector(".pane.pinned .ending")


@pytest.mark.parametrize("exported", [False, True])
def test_markup_in_an_episode_is_only_text(page: Page, tmp_path: Path, exported: bool) -> None:
    path = tmp_path / "<img src=x onerror=hacked=1>"
    with Store(path, create=True) as store:
        store.add(hostile())
        store.add(played(1))
        found = list(store.trajectories())
        store.add_selection(EVIL, [(found[0], ""), (found[1], EVIL)])
        store.add_pairs(EVIL, [(pairing.Pair(found[0], found[1], 1, 1.0, 1.0, EVIL, EVIL), "")])
    with served(path) as address:
        if exported:
            run = Run(path)
            write(run, tmp_path / "out", 10)
            run.close()
            address = (tmp_path / "out/index.html").as_uri()
        ready(page, address)
        look_at_everything(page)
        text = page.evaluate("document.querySelector('.message.user .text').textContent")
        assert text == EVIL.replace("\x00", "\x00")
        until(lambda: "<script>hacked=1</script>" in page.inner_text("h2 >> nth=0"))


def test_ten_megabytes_hold_nothing_up(page: Page, tmp_path: Path) -> None:
    episode, long = played(1), "0123456789abcde\n" * (10 * 2**20 // 16)
    episode.nodes[2].messages = (Message("tool", long, (), "call00000", "get_order"),)
    episode.nodes[3].messages = (assistant(long, ToolCall("get_order", {"x": long}, raw=long), thinking=long),)
    with Store(tmp_path, create=True) as store:
        store.add(episode)
    with served(tmp_path) as address:
        ready(page, address)
        open_episode(page, 1)
        page.keyboard.press("e")
        size = page.evaluate("document.body.textContent.length")
        assert size < 200_000
        page.click(".message.tool .more button")
        until(lambda: page.inner_text(".message.tool .more .dim >> nth=0").strip() == f"40,000 of {len(long):,}")
        shown = page.evaluate("document.querySelector('.message.tool .text').textContent")
        assert shown.startswith(long[:40_000])
        page.goto("about:blank")  # it would miss its server
    run = Run(tmp_path)
    write(run, tmp_path / "out", 1)
    run.close()
    ready(page, (tmp_path / "out/index.html").as_uri())
    open_episode(page, 1)
    assert page.evaluate("document.body.textContent.length") < 200_000


def test_broken_text_harms_nobody(page: Page, tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        for number in range(4):
            store.add(played(number))
    broken = b'[{"id":0,"parent":-1,"kind":"observation","messages":[{"role":"user","content":"a\xff\xfez"}]}, {"id":1,"parent":0,"kind":"action","messages":[{"role":"assistant","content":"\xc3("}]}]'
    with sqlite3.connect(tmp_path / FILE) as plain:
        plain.execute(
            "UPDATE episodes SET nodes = CAST(? AS TEXT), task = CAST(? AS TEXT) WHERE id = 1", (broken, b"\xf0\x9f task")
        )
        plain.execute("UPDATE episodes SET nodes = CAST(? AS TEXT) WHERE id = 2", (b'[{"messages":[{"content":"\\ud800<b>\xff',))
    plain.close()
    with served(tmp_path) as address:
        ready(page, address)
        until(lambda: "\ufffd task" in page.inner_text(".rows"))
        open_episode(page, 1)
        until(lambda: page.inner_text(".message.user .text") == "a\ufffd\ufffdz")
        page.evaluate("location.hash = '#e=2'")
        page.wait_for_selector("text=This record is damaged")
        until(lambda: "<b>\ufffd" in page.inner_text(".text.raw"))
        open_episode(page, 3)


def test_what_is_gone_is_said(page: Page, address: str) -> None:
    ready(page, address)
    page.evaluate("location.hash = '#e=9999'")
    page.wait_for_selector("[role=alert]:has-text('there is no episode 9999')")
    page.expected = "404"


# ---- exports -------------------------------------------------------------------------------------------------------------------------


def test_an_export_opens_from_a_disk_and_filters_as_the_server_does(page: Page, folder: Path, tmp_path: Path) -> None:
    run = Run(folder)
    write(run, tmp_path / "out", 1000)
    store = run.part(0)
    ready(page, (tmp_path / "out/index.html").as_uri())
    questions: list[dict[str, str]] = [
        {},
        {"success": "1", "sort": "tokens"},
        {"mistake": "tool_error", "up": "1"},
        {"mistake": "none", "difficulty": "hard"},
        {"selection": "good", "sort": "task", "up": "1"},
        {"pairs": "default"},
        {"task": "TRAIN-1", "tokens_min": "80", "reward_max": "0.5"},
        {"env": "code/Maths-v0", "version": "policy@aaaa1111", "stop": "terminated"},
    ]
    for asked in questions:
        sifted = page.evaluate("(asked) => ag.sift(0, asked)", asked)
        found = listing.page(store, asked)
        assert [r["id"] for r in sifted["rows"]] == [r["id"] for r in found["rows"]], asked
        assert (sifted["total"], sifted["tokens"]) == (found["total"], found["tokens"])
        assert sifted["reward"] == pytest.approx(found["reward"])
    open_episode(page, 5)
    until(lambda: page.locator(".message").count() == 9)
    open_episode(page, 5, "tokens")
    until(lambda: page.locator(".tokens span").count() == 4 * 20 + 3 * 15)
    open_episode(page, COUNT + 1, "tree")
    until(lambda: page.evaluate("document.querySelector('canvas').dataset.nodes") == "300")
    page.fill("[name=text]", "customer 17:")
    until(lambda: page.inner_text(".told").startswith("1 episode"))
    run.close()
