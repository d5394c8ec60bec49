"""``web/Browser-v0``: tasks of one's own on any site, and no way off the allow-list: real Chromium, real little servers."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from agentgym import EnvironmentFailure, ErrorCategory, Task, Tasks, UserError, assistant, call, make
from agentgym.checks import episodes_are_deterministic, snapshots_can_be_restored
from agentgym_envs.web import any_site
from agentgym_envs.web.any_site import AnySite, Ended
from agentgym_envs.web.browser import chromium
from agentgym_envs.web.hosts import Hosts
from tests.envs.chromiums import BROWSER, Site, headless, site  # noqa: F401

pytestmark = [BROWSER, pytest.mark.usefixtures("headless")]

HOME = """<title>Notes</title><h1>Notes</h1><a href="/list">All notes</a> <a href="{away}/link">Elsewhere</a>
<a href="file:///etc/passwd">Files</a> <a href="mailto:a@b.c">Mail</a> <a href="javascript:void(document.title = 'Scripted')">Script</a>
<form action="/find"><input type="search" name="q" aria-label="Find"></form>
<label>Name <input id="name"></label> <select aria-label="Colour"><option>red<option>blue</select> <textarea aria-label="Text"></textarea>
<span onclick="this.textContent = confirm('Sure?') ? 'Kept' : 'Lost'">Keep</span>
<div onmousedown="this.textContent = 'Held'" onmouseup="this.textContent += ' and let go'">Handle</div>
<div contenteditable aria-label="Page">old</div> <input type="date" aria-label="Day"> <input readonly aria-label="Fixed">
<div style="display: none">Hidden</div>
<svg width="90" height="40"><circle cx="20" cy="20" r="10" fill="red" /><text x="40" y="25">tree</text></svg>
<span onclick="1" title="Bin"><svg width="16" height="16"><path d="M0 0h9v9z" /></svg></span>
<a href="/list" target="_blank">New tab</a> <a href="/broken">Broken</a> <a href="/gone">Gone</a> <button onclick="late()">Later</button>
<script>const late = () => setTimeout(() => document.body.append(' It came.'), 300)</script>"""


@pytest.fixture(scope="module")
def away() -> Iterator[Site]:
    """A site that may not be visited."""
    with site("127.0.0.2") as server:
        yield server


@pytest.fixture(scope="module")
def here(away: Site) -> Iterator[Site]:
    with site() as server:
        server.pages |= {"/": HOME.format(away=away.origin), "/list": "<title>List</title>One. Two.", "/broken": "503"}
        server.pages |= {"/find": "<title>Found</title>It.", "/gone": f"-> http://127.0.0.1:{free_port()}/"}
        server.pages |= {"/away": f"-> {away.origin}/redirect", "/round": "-> /round"}
        yield server


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Errand(AnySite):
    """A task without a file: one page, and the answer has to be "right"."""

    def __init__(self, start: str, *hosts: str) -> None:
        super().__init__(None, hosts or ("127.0.0.1",))
        self.start = start

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks.of([Task("Look.", {"start": self.start, "split": split}, split=split)])

    def check(self, ended: Ended) -> Any:
        return ended.answer == "right" and "Two." in ended.text and ended.title == "List"


@pytest.fixture
def env(here: Site) -> Iterator[Errand]:
    made = Errand(f"{here.origin}/")
    made.reset(options={"task": "train-0"})
    yield made
    made.close()


def act(env: AnySite, tool: str, **arguments: Any) -> str:
    observation, *_, info = env.step(assistant("", call(tool, **arguments)))
    said = observation.messages[0].content
    return f"refused: {said}" if ErrorCategory.TOOL_ERROR in info["errors"] else said


def number(env: AnySite, name: str) -> int:
    return next(i for i, c in enumerate(env.state.view.page.controls, 1) if c.name.startswith(name))


def click(env: AnySite, name: str) -> str:
    return act(env, "click", element=number(env, name))


# ---- pages and tools ---------------------------------------------------------------------------------------------------------


def test_a_page_is_read(env: Errand, here: Site) -> None:
    observation, _ = env.reset(options={"task": "train-0"})
    system, opening = observation.messages
    assert "by tools" in system.content
    text = opening.content
    assert text.startswith("Look.\n\n")
    assert f"Notes, {here.origin}/\n\n# Notes\n" in text
    for line in ('link "All notes"', 'searchbox "Find" = ""', 'textbox "Name" = ""', 'combobox "Colour" = "red" ("red", "blue")'):
        assert line in text
    for line in (
        'clickable "Keep"',
        'textbox "Page" = "old"',
        'circle "red 20x20 at ',
        'text "tree ',
        '] clickable "Handle ',
        'clickable "Bin"',
    ):
        assert line in text
    assert "Hidden" not in text


def test_tools(env: Errand, here: Site) -> None:
    assert 'textbox "Name" = "Ann" focused' in act(env, "type", element=number(env, "Name"), text="Ann")
    assert 'textbox "Text" = "a b"' in act(env, "type", element=number(env, "Text"), text="a\nb")
    assert 'textbox "Page" = "new"' in act(env, "type", element=number(env, "Page"), text="new")
    assert 'textbox "Day" = "2025-01-31"' in act(env, "type", element=number(env, "Day"), text="2025-01-31")
    assert act(env, "type", element=number(env, "Fixed"), text="x").endswith("does not take this text")
    assert 'combobox "Colour" = "blue"' in act(env, "select", element=number(env, "Colour"), option="blue")
    assert 'combobox "Colour" = "red"' in act(env, "press", key="ArrowUp")
    assert 'clickable "Kept"' in click(env, "Keep")
    assert env.state.view.page.controls[number(env, "Handle") - 1].kind == "point"
    x, y = place(env, "Handle")
    act(env, "drag", x=x, y=y, to_x=x + 3, to_y=y)
    assert act(env, "click_at", x=x, y=y).count("Held and let go") == 1
    assert act(env, "drag", x=0, y=0, to_x=-1, to_y=0) == "refused: Error: a place on the page is 0 to 5000"
    click(env, "Later")
    assert "It came." in act(env, "wait")
    assert f"Found, {here.origin}/find?q=it" in act(env, "search", query="it")
    assert f"Notes, {here.origin}/" in act(env, "back")


def place(env: AnySite, name: str) -> tuple[int, int]:
    x, y = env.state.view.page.controls[number(env, name) - 1].name.rpartition(" at ")[2].split(",")
    return int(x), int(y)


def test_what_opens_in_another_tab_opens_here(env: Errand, here: Site) -> None:
    assert f"List, {here.origin}/list" in click(env, "New tab")
    assert "Notes, " in act(env, "back")
    assert f"List, {here.origin}/list" in act(env, "goto", address="/list")
    *_, reward, terminated, _, info = env.step(assistant("", call("finish", answer="right")))
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_an_end_is_an_end(env: Errand) -> None:
    observation, reward, *_ = env.step(assistant("", call("finish", answer="wrong"), call("click", element=1)))
    assert reward == 0.0
    assert observation.messages[1].content == "Error: the task has ended"
    env.close()
    env.reset(options={"task": "train-0"})
    *_, reward, terminated, _, _ = env.step("right")
    assert (reward, terminated) == (0.0, True)


def test_sites_that_break(env: Errand, here: Site) -> None:
    assert click(env, "Gone").endswith("cannot be opened")
    assert env.state.view.address == f"{here.origin}/"
    with pytest.raises(EnvironmentFailure, match="/broken answered with status 503"):
        click(env, "Broken")
    with pytest.raises(EnvironmentFailure, match="was closed"):
        act(env, "wait")
    for start, why in (
        (here.pages["/gone"].removeprefix("-> "), "cannot be opened"),
        (f"{here.origin}/round", "cannot be opened"),
    ):
        with closing(Errand(start)) as lost, pytest.raises(EnvironmentFailure, match=why):
            lost.reset(options={"task": "train-0"})


def test_a_page_without_rest(env: Errand, here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_site, "LOOKS", 3)
    here.pages["/restless"] = "<script>setTimeout(() => location.reload(), 20)</script>Wait"
    with pytest.raises(EnvironmentFailure, match="goes on to other pages without end"):
        act(env, "goto", address="/restless")


def test_a_picture_that_never_comes(env: Errand, here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_site, "MOST", 300)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here.pages["/waiting"] = f"<title>Waiting</title><img src='http://127.0.0.1:{silent.getsockname()[1]}/' alt='A picture'>"
        assert "A picture" in act(env, "goto", address="/waiting")


def test_conformance(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Determinism and the ways back, on a page that says what one may do."""
    monkeypatch.setattr(any_site, "PAUSE", 20)
    start = f"{here.origin}/short"
    here.pages["/short"] = (
        '<title>Short</title><input aria-label="A"> <span onclick="this.textContent += 1">B</span> <a href="/list">C</a>'
    )
    Errand.max_turns = 6
    from agentgym.checks import _run

    for check in (episodes_are_deterministic, snapshots_can_be_restored):
        done = _run(check, lambda: Errand(start), 1, 0)
        assert done.ok, done.detail
    Errand.max_turns = AnySite.max_turns


def test_a_state_that_does_not_come_back(env: Errand, here: Site) -> None:
    act(env, "goto", address="/list")
    snapshot, kept = env.snapshot(), here.pages["/list"]
    env.restore(snapshot)
    here.pages["/list"] = "Three."
    with pytest.raises(EnvironmentFailure, match="1 actions led to another state"):
        env.restore(snapshot)
    here.pages["/list"] = kept


# ---- the allow-list ----------------------------------------------------------------------------------------------------------

# Each is a button; AWAY is the origin of the site that may not be visited, HERE that of the one that may.
LEAVING = {  # by another page in the tab itself, or in another one
    "location": "location = 'AWAY/location'",
    "replace": "location.replace('AWAY/replace')",
    "redirect": "location = '/away'",
    "meta": "document.head.insertAdjacentHTML('beforeend', '<meta http-equiv=refresh content=\"0; url=AWAY/meta\">')",
    "open": "open('AWAY/open')",
    "blank": "open('about:blank').location = 'AWAY/blank'",
    "form": "document.body.insertAdjacentHTML('beforeend', '<form method=post action=AWAY/form>'); document.forms[0].submit()",
}
REACHING = {  # without leaving the page
    "frame": "add('iframe', {src: 'AWAY/frame'})",
    "srcdoc": "add('iframe', {srcdoc: '<meta http-equiv=refresh content=\"0; url=AWAY/srcdoc\">'})",
    "data": "add('iframe', {src: 'data:text/html,<script>fetch(\"AWAY/data\", {mode: \"no-cors\"})<\\/script>'})",
    "fetch": "fetch('AWAY/fetch', {mode: 'no-cors'})",
    "followed": "fetch('/away', {mode: 'no-cors'})",
    "xhr": "const x = new XMLHttpRequest(); x.open('GET', 'AWAY/xhr'); x.send()",
    "beacon": "navigator.sendBeacon('AWAY/beacon', 'x')",
    "socket": "new WebSocket('AWAY/socket'.replace('http', 'ws'))",
    "events": "new EventSource('AWAY/events')",
    "image": "add('img', {src: 'AWAY/image'})",
    "script": "add('script', {src: 'AWAY/script'})",
    "style": "add('link', {rel: 'stylesheet', href: 'AWAY/style'})",
    "prefetch": "add('link', {rel: 'prefetch', href: 'AWAY/prefetch'})",
    "worker": "new Worker(URL.createObjectURL(new Blob([`importScripts('AWAY/worker')`])))",
}
INVISIBLE = {  # what no server sees
    "file": "location = 'file://SECRET'",
    "file frame": "add('iframe', {src: 'file://SECRET'})",
    "file open": "open('file://SECRET')",
    "data page": "location = 'data:text/html,<title>Out</title>SECRET'",
    "data open": "open('data:text/html,<title>Out</title>SECRET')",
    "blob": "location = URL.createObjectURL(new Blob(['<title>Out</title>Out'], {type: 'text/html'}))",
    "about": "location = 'about:blank'",
    "chrome": "location = 'chrome://version'",
    "source": "location = 'view-source:HERE/'",
    "zero": "location = location.href.replace('127.0.0.1', '0.0.0.0')",
    "six": "location = location.href.replace('127.0.0.1', '[::ffff:127.0.0.1]')",
    "name": "location = location.href.replace('127.0.0.1', 'rebinding.localhost')",
    "dot": "location = location.href.replace('127.0.0.1', 'localhost.')",
    "name fetch": "fetch(location.href.replace('127.0.0.1', 'rebinding.localhost'), {mode: 'no-cors'})",
}
ADD = "<script>const add = (tag, what) => document.body.append(Object.assign(document.createElement(tag), what))</script>"


def ways(here: Site, away: Site, secret: str, *groups: dict[str, str]) -> list[str]:
    """A page with a button for each way; their names."""
    chosen = {name: script for group in groups for name, script in group.items()}
    buttons = []
    for name, script in chosen.items():
        known = script.replace("AWAY", away.origin).replace("HERE", here.origin).replace("SECRET", secret)
        buttons.append(
            f"<button id='{name}'>{name}</button><script>document.getElementById('{name}').onclick = () => {{ {known} }}</script>"
        )
    here.pages["/ways"] = f"<!DOCTYPE html><title>Ways</title>{ADD}{''.join(buttons)}"
    return list(chosen)


def test_nothing_leads_off_the_list(env: Errand, here: Site, away: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret content")
    away.asked.clear()
    env.max_turns = 1000
    names = ways(here, away, str(secret), LEAVING, REACHING, INVISIBLE)
    act(env, "goto", address="/ways")
    for name in names:
        before = len(here.asked)
        said = click(env, name)
        assert env.state.view.address == f"{here.origin}/ways", name
        assert "Ways, " in said or "leads away from the site" in said, name
        assert "secret content" not in said
        assert "Out" not in said, name
        refused = name in {*LEAVING, "about", "blob", "data open", "zero", "six", "name", "dot"} - {"blank"}
        assert said.startswith("refused: ") == refused, (name, said)
        if name == "name fetch":
            assert len(here.asked) == before  # the name, which Chromium itself takes for loopback, has no address
    assert away.asked == []


def test_the_ways_lead_there_where_it_is_allowed(here: Site, away: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """That nothing came is worth something because here all of it does."""
    away.asked.clear()
    with closing(Errand(f"{here.origin}/ways", "127.0.0.1", f"127.0.0.2:{away.server_port}")) as env:
        env.max_turns = 1000
        away.pages = dict.fromkeys([f"/{name}" for name in (*LEAVING, *REACHING)], "<title>There</title>")
        names = ways(here, away, "", LEAVING, REACHING)
        env.reset(options={"task": "train-0"})
        for name in names:
            if not env.state.view.address.endswith("/ways"):
                act(env, "goto", address=f"{here.origin}/ways")
            click(env, name)
    away.pages = {}
    came = {path.removeprefix("/") for path in away.asked}
    assert came >= {*LEAVING, *REACHING} - {"followed"}


def test_calls_do_not_leave(env: Errand, here: Site) -> None:
    """WebRTC looks for ways of its own, and does not ask the resolver about addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stun, socket.create_server(("127.0.0.2", 0)) as turn:
        stun.bind(("127.0.0.2", 0))
        stun.settimeout(0.5)
        turn.settimeout(0.1)
        places = f"{{urls: 'stun:127.0.0.2:{stun.getsockname()[1]}'}}, "
        places += f"{{urls: 'turn:127.0.0.2:{turn.getsockname()[1]}?transport=tcp', username: 'a', credential: 'b'}}"
        here.pages["/calls"] = f"""<title>Calls</title><script>
          const peer = new RTCPeerConnection({{iceServers: [{places}]}});
          peer.createDataChannel('x');
          peer.createOffer().then(offer => peer.setLocalDescription(offer));
        </script>"""
        assert "Calls, " in act(env, "goto", address="/calls")
        with pytest.raises(TimeoutError):
            stun.recv(100)
        with pytest.raises(TimeoutError):
            turn.accept()


def test_addresses_that_are_refused(env: Errand, here: Site, away: Site) -> None:
    port = here.server_port
    for address in (
        f"{away.origin}/", f"//127.0.0.2:{away.server_port}/", "file:///etc/passwd", "data:text/html,x", "javascript:x", "about:blank",
        "view-source:http://127.0.0.1/", "chrome://version", f"ftp://127.0.0.1:{port}/", f"http://127.0.0.1:{port}@127.0.0.2/",
        f"http://localhost:{port}/", f"http://127.0.0.2:{away.server_port}\\@127.0.0.1:{port}/", f"http://127.0.0.1.:{port}/",
        f"http://[::1]:{port}/", "http://127.0.0.1:x/", f"http://127.0.0.1:{port}/{'x' * 1000}",
    ):  # fmt: skip
        assert act(env, "goto", address=address) == "refused: Error: this is no address of a page that may be visited", address
    for name in ("Elsewhere", "Files", "Mail"):
        assert click(env, name) == "refused: Error: this link leads away from the site"
    assert "Scripted, " in click(env, "Script")
    assert not away.asked or "/link" not in away.asked


def test_a_name_that_comes_to_mean_another_address(here: Site, away: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up once, before anything is visited."""
    addresses = iter(("127.0.0.1", "127.0.0.2"))

    def look_up(host: str, *_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(addresses) if host == "notes.test" else host, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    port = here.server_port
    hosts = Hosts((f"notes.test:{port}",))
    assert hosts.rules == f"MAP notes.test:{port} 127.0.0.1, MAP * ~NOTFOUND"
    assert next(addresses) == "127.0.0.2"
    away.asked.clear()
    with closing(Errand(f"http://notes.test:{port}/list", "127.0.0.1")) as env:
        env.hosts = hosts
        observation, _ = env.reset(options={"task": "train-0"})
        assert f"List, http://notes.test:{port}/list" in observation.messages[1].content
        assert here.asked[-1] == "/list"
        assert act(env, "goto", address=f"http://notes.test:{away.server_port}/").startswith("refused: ")
    chromium(hosts.rules).close()
    assert away.asked == []


def test_allow_lists() -> None:
    assert Hosts().rules == "MAP 127.0.0.1 127.0.0.1, MAP localhost 127.0.0.1, MAP * ~NOTFOUND"
    assert Hosts(("LocalHost:80",)).allow("http://localhost/")
    assert not Hosts(("localhost:80",)).allow("https://localhost/")
    for entry in ("", "*", "http://localhost", "localhost/", "a b", "[::1]", "localhost:99999", "a..b", "a,MAP x y"):
        with pytest.raises(UserError, match="is no host"):
            Hosts((entry,))
    with pytest.raises(UserError, match="has no address"):
        Hosts(("no-such-host.invalid",))
    with pytest.raises(UserError, match="is empty"):
        Hosts(())


# ---- tasks in files ----------------------------------------------------------------------------------------------------------


def right(ended: Ended) -> bool:
    return ended.answer == ended.task.data["wanted"]


async def half(_: Ended) -> float:
    return 0.5


def wild(_: Ended) -> float:
    return 7.0


def broken(ended: Ended) -> float:
    raise KeyError(ended.address)


def rows(folder: Path, *checks: str, **more: Any) -> str:
    file = folder / "tasks-train.jsonl"
    row = {"start": "http://127.0.0.1/", "instruction": "Say it.", "wanted": "yes"} | more
    file.write_text("".join(json.dumps(row | {"check": f"{__name__}:{c}", "id": c}) + "\n" for c in checks))
    return str(file)


def test_tasks_of_a_file(here: Site, tmp_path: Path) -> None:
    data = rows(tmp_path, "right", "half", "wild", "broken", start=f"{here.origin}/list")
    with closing(make("web/Browser-v0", data=data, hosts="127.0.0.1")) as env:
        assert len(env.tasks("train")) == 4
        assert len(env.tasks("test")) == 0
        rewards = []
        for task, answer in (("right", "yes"), ("right", "no"), ("half", "")):
            env.reset(options={"task": task})
            rewards.append(env.step(answer)[1])
        assert rewards == [1.0, 0.0, 0.5]
        for task, why in (
            ("wild", "said 7.0: expected a number from 0 to 1"),
            ("broken", "check of task 'broken' failed: KeyError"),
        ):
            env.reset(options={"task": task})
            with pytest.raises(EnvironmentFailure, match=why):
                env.step("x")


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="web/Browser-v0 needs data: "):
        make("web/Browser-v0")
    for name, more, why in (
        ("no_such", {}, "row 1: ValueError: there is no check"),
        ("HOME", {}, "is no function"),
        ("right", {"instruction": 7}, "are texts"),
        ("right", {"start": "http://example.com/"}, "starts at http://example.com/: allow its host"),
    ):
        folder = tmp_path / why[:5]
        folder.mkdir()
        with closing(make("web/Browser-v0", data=rows(folder, name, **more))) as env, pytest.raises(UserError, match=why):
            env.tasks()


def test_environments_side_by_side(here: Site) -> None:
    """What one visitor keeps, another does not see."""
    here.pages["/kept"] = (
        "<title>Kept</title><script>document.write(localStorage.kept, document.cookie); localStorage.kept = 'mine'; document.cookie = 'a=b'</script>"
    )
    seen: list[str] = []

    def visit() -> None:
        with closing(Errand(f"{here.origin}/kept")) as env:
            seen.extend(env.reset(options={"task": "train-0"})[0].messages[1].content for _ in range(2))

    threads = [Thread(target=visit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert all("undefined" in text and "mine" not in text and "a=b" not in text for text in seen)
