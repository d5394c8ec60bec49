"""Somebody who clicks about on a web site without any aim, and now and then with one."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from agentgym import Message, assistant, call
from agentgym_envs.web.accessibility import read
from agentgym_envs.web.backend import View
from agentgym_envs.web.booking.env import BookingEnvironment
from agentgym_envs.web.env import WebEnvironment
from agentgym_envs.web.errand import Errand
from agentgym_envs.web.shop.env import ShopEnvironment
from agentgym_envs.web.site import Site
from agentgym_envs.web.text import TextBackend

SITES: dict[type[Errand[Any, Any]], int] = {ShopEnvironment: 800, BookingEnvironment: 400}  # and how many items are enough
WORDS = ("lamp", "red", "desk lamp", "coast", "", "x y", 'a "b"', "é~*", "<b>", "2", "-1", "2027-05-04", "lamp\nmug")
ADDRESSES = (
    "/", "/cart", "/checkout", "/search?q=lamp&page=2", "/product/7", "/orders", "/orders/1", "/nothing", "evil",
    "/search?q=&arrival=2027-05-04&nights=2&guests=1", "/room/7?arrival=2027-05-04&nights=2&guests=1", "/bookings", "/bookings/1",
    "/room/7/book?arrival=2027-06-01&nights=1&guests=1", "/search?arrival=x", "/room/9999",
)  # fmt: skip


def wander(env: WebEnvironment, rng: random.Random) -> Message:
    """One action, most of them on a control of the page; some that cannot be done."""
    controls = env.state.view.page.controls
    number = rng.randint(1, len(controls))
    aimless = rng.random()
    if aimless < 0.25:
        others = (
            call("press", key=rng.choice(("Enter", "Enter", "Escape"))),
            call("back"),
            call("search", query=rng.choice(WORDS)),
            call("scroll", direction=rng.choice(("down", "up"))),
            call("goto", address=rng.choice(ADDRESSES)),
            call("click", element=number + rng.choice((0, 0, 100))),
            call("select", element=number, option="no such option"),
        )
        return assistant("", rng.choice(others))
    if aimless < 0.45 and (buttons := [i for i, c in enumerate(controls, 1) if c.kind == "button"]):
        return assistant("", call("click", element=rng.choice(buttons)))
    if controls[number - 1].kind in ("text", "area"):
        return assistant("", call("type", element=number, text=rng.choice(WORDS)))
    return env.explore(rng)


async def awalk(env: WebEnvironment, task: Any, seed: int, steps: int, gold: float = 0.0) -> list[Any]:
    """What a walk shows: the opening, and what each step returned; with this chance each step is the right one."""
    rng = random.Random(seed)
    seen: list[Any] = [await env.areset(seed=0, options={"task": task})]
    for _ in range(steps):
        right = env.oracle() if rng.random() < gold else None
        seen.append((*await env.astep(right or wander(env, rng)), env.state_key()))
        if seen[-1][2] or seen[-1][3]:
            break
    return seen


def walk(env: WebEnvironment, task: Any, seed: int, steps: int, gold: float = 0.0) -> list[Any]:
    """The same on a loop of its own."""
    return env._on_own_loop(awalk(env, task, seed, steps, gold))


def act(env: WebEnvironment, name: str, **arguments: Any) -> str:
    """Do one thing. Returns what was seen then."""
    observation, *_ = env.step(assistant("", call(name, **arguments)))
    return observation.messages[0].content


def finish(env: WebEnvironment, actions: Sequence[Message] = ()) -> dict[str, Any]:
    """Take these actions, then the oracle's to the end. Returns the last info."""
    queue = list(actions)
    while True:
        *_, terminated, truncated, info = env.step(queue.pop(0) if queue else env.oracle())  # type: ignore[arg-type]
        if terminated or truncated:
            return info


class Visitor:
    """Somebody who reads and clicks."""

    def __init__(self, site: Site) -> None:
        self.session = site.open()
        self.backend = TextBackend(site, self.session)
        self.view: View = asyncio.run(self.backend.goto("/"))

    def goto(self, address: str) -> str:
        self.view = asyncio.run(self.backend.goto(address))
        return self.text

    def number(self, name: str, which: int = 0) -> int:
        return [i for i, c in enumerate(self.view.page.controls, 1) if c.name == name][which]

    def click(self, name: str, which: int = 0) -> str:
        self.view = asyncio.run(self.backend.click(self.view, self.number(name, which)))
        return self.text

    def fill(self, name: str, text: str) -> None:
        self.view = asyncio.run(self.backend.fill(self.view, self.number(name), text))

    def select(self, name: str, value: str) -> None:
        self.view = asyncio.run(self.backend.select(self.view, self.number(name), value))

    def press(self, key: str) -> str:
        self.view = asyncio.run(self.backend.press(self.view, key))
        return self.text

    @property
    def text(self) -> str:
        return "\n".join(self.view.page.text(self.view.fields, self.view.focus))


def fit_for_use(visitor: Visitor, paths: Sequence[str]) -> None:
    """Pages are whole documents, in which every control has a name and every label its control."""
    for path in paths:
        _, _, html = visitor.backend._request("GET", path, b"")
        document = LexborHTMLParser(html.decode())
        assert html.decode().startswith("<!doctype html>")
        assert document.css_first("html").attributes["lang"] == "en"
        assert len(document.css("h1")) == len(document.css("title")) == len(document.css("main")) == 1
        ids = [node.attributes["id"] for node in document.css("[id]")]
        assert len(ids) == len(set(ids))
        assert {label.attributes["for"] for label in document.css("label[for]")} <= set(ids)
        assert all(form.attributes.keys() >= {"novalidate", "action"} for form in document.css("form"))
        page, *_ = read(html.decode())
        assert [c.role for c in page.controls if not c.name] == []
        assert page.title
        assert page.title != "- "
