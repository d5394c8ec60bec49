"""What all web environments share: actions are tools, observations are pages as text, states can be returned to."""

import hashlib
import random
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from agentgym import (
    AsyncEnvironment,
    EnvironmentFailure,
    Message,
    Task,
    ToolError,
    UserError,
    assistant,
    call,
    system,
    tool,
    user,
)
from agentgym.env import Snapshot

from .accessibility import Control
from .backend import Backend, SiteBackend, View, is_address
from .site import Session, Site
from .text import TextBackend

BACKENDS = ("text", "browser")
LINES = 60  # of a page that are seen at once
LONGEST = 1000  # characters typed at once, or of an address
_MARKS = re.compile("</?page>", re.IGNORECASE)
_PRINTED = dict.fromkeys(range(32), " ") | {10: "\n", 127: " "}


class Saved(msgspec.Struct, frozen=True):
    """The server's state of one session: a hash of its content, and the database."""

    key: str
    image: bytes


class Visit(msgspec.Struct, frozen=True):
    """The hidden state, all of it a value.

    Attributes:
        view: Where the agent is.
        server: What the site knows.
        scroll: The first line seen.
        history: Addresses to go back to, the last one last.
    """

    view: View
    server: Saved
    scroll: int = 0
    history: tuple[str, ...] = ()


class PageEnvironment(AsyncEnvironment):
    """Base of all web environments: an agent on a page, and what it may do there."""

    instructions = (
        "You use a web site by tools. Each answer shows the page as text between <page> and </page>: controls have a number in "
        "brackets, by which you click, type and select. A long page is shown in parts: scroll. Call finish when the task is done."
    )
    max_turns = 24
    state: Visit
    _backend: Backend | None = None

    # ---- what the agent may do -----------------------------------------------------------------------------------------

    @tool
    async def goto(self, address: str) -> str:
        """Open a page by its address on this site.

        Args:
            address: A path such as /cart, with or without a query.
        """
        if len(address) > LONGEST or not self._stays(address):
            raise ToolError("an address is a path on this site, such as /cart")
        return self._moved(await self._acting.goto(address))

    @tool
    async def click(self, element: int) -> str:
        """Click a link, a button, a box or a field.

        Args:
            element: Its number.
        """
        control = self._control(element, "link", "button", "check", "radio", "text", "area", "point")
        if control.kind == "link" and not self._stays(control.target):
            raise ToolError("this link leads away from the site")
        return self._moved(await self._acting.click(self.state.view, element))

    @tool
    async def type(self, element: int, text: str) -> str:
        """Write a text into a field, in place of what it holds.

        Args:
            element: Its number.
            text: What to write.
        """
        control = self._control(element, "text", "area")
        return self._moved(await self._acting.fill(self.state.view, element, _typed(text, control.kind == "area")))

    @tool
    async def select(self, element: int, option: str) -> str:
        """Choose an option of a combobox.

        Args:
            element: Its number.
            option: The option's text.
        """
        control = self._control(element, "select")
        value = next((v for v, label in control.options.items() if label == option), None)
        if value is None:
            raise ToolError(f"element {element} has no such option")
        return self._moved(await self._acting.select(self.state.view, element, value))

    @tool
    async def press(self, key: Literal["Enter", "Escape"]) -> str:
        """Press a key; Enter sends the form of the field that is focused."""
        focus = self.state.view.focus
        if focus is not None and self.state.view.page.controls[focus - 1].kind == "select":
            raise ToolError(f"element {focus}, which is focused, is a combobox: choose with select")
        return self._moved(await self._acting.press(self.state.view, key))

    @tool
    def scroll(self, direction: Literal["down", "up"]) -> str:
        """See the next or the previous part of a long page."""
        last = max(0, len(self.state.view.page.lines) - 1) // LINES * LINES
        top = self.state.scroll + (LINES if direction == "down" else -LINES)
        self.state = msgspec.structs.replace(self.state, scroll=min(max(top, 0), last))
        return self._seen()

    @tool
    async def back(self) -> str:
        """Go back to the page before."""
        if not self.state.history:
            raise ToolError("there is no page before this one")
        *before, address = self.state.history
        return self._moved(await self._acting.goto(address), tuple(before))

    @tool
    async def search(self, query: str) -> str:
        """Search the site.

        Args:
            query: What to search for.
        """
        controls = self.state.view.page.controls
        box = next((i for i, c in enumerate(controls, 1) if c.role == "searchbox"), None)
        if box is None:
            raise ToolError("this page has no search field: go to another one first")
        filled = await self._acting.fill(self.state.view, box, _typed(query, False))
        return self._moved(await self._acting.press(filled, "Enter"))

    @tool
    def finish(self, answer: str = "") -> str:
        """End the task.

        Args:
            answer: What was asked for, if something was.
        """
        self.end(answer)
        return "Finished."

    def explore(self, rng: random.Random) -> Message:
        """Something with a control of the page, most often; what is typed are words that the page says."""
        controls = self.state.view.page.controls
        if not controls or rng.random() < 0.1:
            return assistant("", rng.choice((call("back"), call("press", key="Enter"), call("scroll", direction="down"))))
        number = rng.randint(1, len(controls))
        control = controls[number - 1]
        if control.kind == "select":
            return assistant("", call("select", element=number, option=rng.choice(list(control.options.values()) or [""])))
        if control.kind in ("text", "area"):
            words = rng.choice(controls).name.split() or [""]
            return assistant("", call("type", element=number, text=rng.choice(words)))
        return assistant("", call("click", element=number))

    def _control(self, number: int, *kinds: str) -> Control:
        controls = self.state.view.page.controls
        if not 0 < number <= len(controls):
            raise ToolError(f"this page has no element {number}: its elements are 1 to {len(controls)}")
        control = controls[number - 1]
        if control.disabled:
            raise ToolError(f"element {number} is disabled")
        if control.kind not in kinds:
            raise ToolError(f"element {number} is a {control.role}: use another tool for it")
        return control

    @property
    def _acting(self) -> Backend:
        if self._backend is None:
            raise EnvironmentFailure("the site was closed in the middle of an episode")
        return self._backend

    @abstractmethod
    def _stays(self, address: str) -> bool:
        """Whether this is an address where the agent may go."""

    @abstractmethod
    def _known(self) -> Saved:
        """What the site knows now."""

    def _moved(self, view: View, history: tuple[str, ...] | None = None) -> str:
        """Take note of where an action led."""
        old, scroll = self.state, self.state.scroll
        if view.page is not old.view.page and view.page != old.view.page:
            scroll = 0
        if history is None:
            history = (*old.history, old.view.address) if view.address != old.view.address else old.history
        self.state = msgspec.structs.replace(old, view=view, server=self._known(), scroll=scroll, history=history)
        return self._seen()

    def _seen(self) -> str:
        """The part of the page that is seen, between marks that no page can write.

        What a site says is data, and marked as such (Chen et al. 2024, "StruQ": a channel of its own, whose marks are taken out
        of what comes through it), whether or not it says anything evil.
        """
        view, top = self.state.view, self.state.scroll
        lines = list(view.page.text(view.fields, view.focus))
        page = "\n".join((f"{view.page.title}, {view.address}", "", *lines[top : top + LINES]))
        seen = f"<page>\n{_MARKS.sub(_defused, page)}\n</page>"
        if len(lines) > LINES:
            seen += f"\n(lines {top + 1} to {min(top + LINES, len(lines))} of {len(lines)}: scroll to see others)"
        return seen

    # ---- states ----------------------------------------------------------------------------------------------------------

    def copy_state(self, state: Visit) -> Visit:
        """All in it is immutable."""
        return state

    def state_key(self) -> str:
        """A hash of the task, of where the agent is, of what it filled in, and of what the site knows."""
        s = self.state
        known = (self.task.id, s.view.address, sorted(s.view.fields.items()), s.view.focus, s.scroll, s.history, s.server.key)
        return hashlib.blake2b(msgspec.json.encode(known), digest_size=16).hexdigest()


class WebEnvironment(PageEnvironment):
    """Base of environments on sites of our own.

    A state is returned to by loading the session's database, and then, with a browser, by opening the address and filling the
    fields again.

    Args:
        backend: "text" (no browser: much faster) or "browser" (headless Chromium); they show the same.

    Raises:
        UserError: an unknown back end.
    """

    site: Site
    session: Session | None = None
    _backend: SiteBackend | None = None
    _changes: int = -1

    def __init__(self, backend: str = "text") -> None:
        if backend not in BACKENDS:
            raise UserError(f"there is no back end {backend!r}: use one of {', '.join(BACKENDS)}")
        self.backend = backend

    @abstractmethod
    def visit(self, task: Task) -> Site:
        """The site on which `task` is done."""

    def begin(self, task: Task) -> Any:
        """A new session on the site, at its first page."""
        return self._begun(task)

    async def _begun(self, task: Task) -> Sequence[Message]:
        site = self.visit(task)
        if self.session is None or self._backend is None or self._backend.broken or site is not self.site:
            await self.aclose()
            self.site, self.session = site, site.open()
            self._backend = _backend(self.backend, site, self.session)
        else:  # the same visitor without a past: a browser's context costs as much as ten actions
            self.session.load(site.empty)
        self.session.planted = self.planted(task)
        self._changes = self.session.changes
        self.state = Visit(await self._backend.goto("/"), Saved(self.session.key(), self.session.image()))
        return system(self.instructions), user(f"{task.prompt}\n\n{self._seen()}")

    def planted(self, task: Task) -> Mapping[str, str]:
        """What others have put into the pages of this task, by place; nothing by default."""
        return {}

    def _stays(self, address: str) -> bool:
        return is_address(address)

    def _known(self) -> Saved:
        if self._session.changes == self._changes:
            return self.state.server
        self._changes = self._session.changes
        return Saved(self._session.key(), self._session.image())

    @property
    def _session(self) -> Session:
        if self.session is None:
            raise EnvironmentFailure("the site was closed in the middle of an episode")
        return self.session

    async def arestore(self, snapshot: Snapshot) -> None:
        """Return to a state: the site's, then the page's.

        Raises:
            EnvironmentFailure: the state that came back is not the one that was left.
        """
        await super().arestore(snapshot)
        session = self._session
        session.load(self.state.server.image)
        self._changes = session.changes
        if session.key() != self.state.server.key:
            raise EnvironmentFailure("a site did not come back as it was")
        assert self._backend is not None  # as long as there is a session
        await self._backend.show(self.state.view)

    async def aclose(self) -> None:
        """End the session."""
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.aclose()
        if self.session is not None:
            self.site.close(self.session)
            self.session = None


def _backend(name: str, site: Site, session: Session) -> SiteBackend:
    if name == "text":
        return TextBackend(site, session)
    from .browser import BrowserBackend  # Playwright is loaded by those alone who use it

    return BrowserBackend(site, session)


def _defused(mark: re.Match[str]) -> str:
    return mark[0].replace("<", "(").replace(">", ")")


def _typed(text: str, area: bool) -> str:
    """What a field takes of a text: no control characters, and of several lines only an area.

    Raises:
        ToolError: it is too long.
    """
    if len(text) > LONGEST:
        raise ToolError(f"at most {LONGEST} characters can be typed at once")
    text = text.replace("\r\n", "\n").translate(_PRINTED)
    return text if area else text.replace("\n", " ")
