"""Pages as text, and acting on them without a browser."""

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from agentgym import EnvironmentFailure
from agentgym_envs.web.accessibility import read
from agentgym_envs.web.backend import View, encoded, is_address
from agentgym_envs.web.site import Session, Site
from agentgym_envs.web.text import TextBackend

PAGE = """<!doctype html><html><head><title> A  page </title><style>p { color: red }</style></head><body>
<!-- said to nobody --><h2>Head<em>ing</em></h2><p>One <b>two</b>
three<br>four</p><script>five()</script><p hidden>six</p><div aria-hidden="true">seven</div><template>eight</template>
<ul><li>nine</li><li>ten <a href="/eleven">eleven</a> twelve</li></ul>
<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td><a href="/x">2</a></td></tr></table>
<a name="anchor">no link</a> <a href="/icon"><img alt="An icon" src="x"></a> <img alt="A picture" src="y"><img src="z">
<a href="/q">say "hi"</a>
<form action="/send?old=1" method="POST"><input type="hidden" name="first" value="1">
<label for="n">Your name</label><input id="n" name="n" value=" Ann  Lee "><label>Note <textarea name="note">
two
lines</textarea></label><input type="hidden" name="second" value="2">
<label><input type="checkbox" name="c" value="yes" checked> Check</label> <input type="checkbox" name="d" aria-label="Other">
<label><input type="radio" name="r" value="1" checked> First</label><label><input type="radio" name="r" value="2"> Second</label>
<select name="s" title="Choose"><option value="">none</option><option value="a">A  b</option><option selected>C</option></select>
<select name="t" aria-label="Plain"><option>x</option><option>y</option></select><input name="off" placeholder="Off" disabled value="z">
<input type="password" aria-label="Secret"><input type="submit" value="Send"><button name="b" value="1">Other way</button></form>
<form action="/find"><input type="search" name="q" aria-label="Find"></form>
<p>last</p></body></html>"""

TEXT = """## Heading
One two three
four
nine
ten [1] link "eleven" twelve
A | B
1 | [2] link "2"
no link [3] link "An icon" A picture [4] link "say 'hi'"
[5] textbox "Your name" = "Ann Lee" [6] textbox "Note" = "two lines" [7] checkbox "Check" checked [8] checkbox "Other" \
[9] radio "First" checked [10] radio "Second" [11] combobox "Choose" = "C" ("none", "A b", "C") \
[12] combobox "Plain" = "x" ("x", "y") [13] textbox "Off" = "z" disabled [14] textbox "Secret" = "" [15] button "Send" \
[16] button "Other way"
[17] searchbox "Find" = ""
last"""


class Echo(Site):
    """Says what it was sent."""

    def __init__(self) -> None:
        pages = {
            "GET /": self.page,
            "POST /send": self.echo,
            "GET /find": self.echo,
            "GET /loop": self.loop,
            "GET /wait": self.wait,
        }
        super().__init__("Echo", "agentgym_envs.web.shop", "CREATE TABLE t (a)", pages, {})

    async def page(self, request: Request, session: Session) -> Response:
        return HTMLResponse(PAGE)

    async def echo(self, request: Request, session: Session) -> Response:
        sent = (await request.body()).decode() or request.url.query
        return HTMLResponse(f"<p>{parse_qsl(sent, keep_blank_values=True)}")

    async def loop(self, request: Request, session: Session) -> Response:
        return RedirectResponse("/loop")

    async def wait(self, request: Request, session: Session) -> Response:
        await asyncio.sleep(0)
        return HTMLResponse("late")


@pytest.fixture
def backend() -> TextBackend:
    site = Echo()
    return TextBackend(site, site.open())


def run(backend: TextBackend, *actions: tuple[Any, ...]) -> View:
    async def play() -> View:
        view = await backend.goto("/")
        for name, *arguments in actions:
            view = await getattr(backend, name)(view, *arguments)
        return view

    return asyncio.run(play())


def text(view: View) -> str:
    return "\n".join(view.page.text(view.fields, view.focus))


def test_a_page_is_read() -> None:
    page, fields, focus = read(PAGE)
    assert page.title == "A page"
    assert "\n".join(page.text({}, None)) == TEXT
    assert (fields, focus) == ({}, None)
    assert '[12] combobox "Plain" = "y" ("x", "y") focused' in "\n".join(page.text({12: "y"}, 12))


def test_what_a_browser_knows_is_read() -> None:
    page, fields, focus = read(
        "<input name=a value=1 data-node=4 data-value=2><input type=checkbox data-node=5 data-value=on data-focused>"
        "<select data-value=b><option value=a>A<option value=b>B</select><input value=1 data-value=1>"
    )
    assert fields == {1: "2", 2: "on", 3: "b"}
    assert focus == 2
    assert [c.node for c in page.controls] == [4, 5, -1, -1]


@given(st.text(max_size=300) | st.lists(st.sampled_from(PAGE.split(">")), max_size=40).map(">".join))
@settings(max_examples=300, deadline=None)
def test_any_html_can_be_read(html: str) -> None:
    page, *_ = read(html)
    shown = [part for line in page.lines for part in line if isinstance(part, int)]
    assert shown == list(range(1, len(page.controls) + 1))
    assert all("\n" not in line for line in page.text({}, None))


FORM = [
    ("first", "1"),
    ("n", " Ann  Lee "),
    ("note", "two\r\nlines"),
    ("second", "2"),
    ("c", "yes"),
    ("r", "1"),
    ("s", "C"),
    ("t", "x"),
]


@pytest.mark.parametrize(
    ("actions", "sent"),
    [
        ([("click", 15)], FORM),
        ([("click", 16)], [*FORM, ("b", "1")]),
        ([("click", 5), ("press", "Enter")], FORM),  # by the form's first button
        ([("click", 9), ("press", "Enter")], FORM),
        ([("click", 5), ("press", "Escape"), ("press", "Enter")], FORM),
        ([("fill", 5, "é ~*&=+"), ("click", 15)], [("first", "1"), ("n", "é ~*&=+"), *FORM[2:]]),
        ([("click", 7), ("click", 8), ("click", 10), ("click", 15)], [*FORM[:4], ("d", "on"), ("r", "2"), *FORM[6:]]),
        ([("click", 7), ("click", 7), ("click", 10), ("click", 9), ("click", 15)], FORM),
        ([("select", 11, ""), ("select", 12, "y"), ("click", 15)], [*FORM[:6], ("s", ""), ("t", "y")]),
        ([("click", 6), ("press", "Enter"), ("click", 15)], [*FORM[:2], ("note", "two\r\nlines\r\n"), *FORM[3:]]),
    ],
)
def test_a_form_is_sent_as_browsers_send_it(
    backend: TextBackend, actions: list[tuple[Any, ...]], sent: list[tuple[str, str]]
) -> None:
    assert text(run(backend, *actions)) == " ".join(str(sent).split())


def test_a_form_without_a_button_is_sent_by_its_only_text(backend: TextBackend) -> None:
    assert text(run(backend, ("fill", 17, "x"), ("press", "Enter"))) == "[('q', 'x')]"


def test_what_leads_nowhere(backend: TextBackend) -> None:
    start = run(backend)
    assert run(backend, ("press", "Enter")) == start
    assert run(backend, ("click", 14), ("press", "Escape")).focus == 14
    assert run(backend, ("click", 15), ("press", "Enter")).page.controls == ()
    assert run(backend, ("fill", 17, "x"), ("press", "Escape")).fields == {}  # browsers empty a search field
    assert run(backend, ("fill", 5, "x"), ("fill", 5, " Ann  Lee ")).fields == {}
    assert "That did not work" in text(run(backend, ("click", 1)))


def test_sites_that_break(backend: TextBackend) -> None:
    for path, problem in (("/loop", "redirects without end"), ("/wait", "waits for something")):
        with pytest.raises(EnvironmentFailure, match=problem):
            asyncio.run(backend.goto(path))


@given(st.lists(st.tuples(st.text(), st.text())))
def test_encoded_fields_are_read_back(fields: list[tuple[str, str]]) -> None:
    plain = [tuple(x.replace("\r\n", "\n").replace("\n", "\r\n") for x in pair) for pair in fields]
    assert parse_qsl(encoded(fields), keep_blank_values=True) == plain
    assert is_address("/?" + encoded(fields))


@pytest.mark.parametrize(
    "address",
    ["", "cart", "//evil", "/../x", "/./x", "http://evil/", "file:///etc/passwd", "/a b", "/é", "/a\n", "javascript:x", "/x#y"],
)
def test_what_is_no_address(address: str) -> None:
    assert not is_address(address)
