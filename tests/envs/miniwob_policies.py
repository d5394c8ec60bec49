"""Policies for pages of MiniWoB, which read what an agent reads.

``python -m tests.envs.miniwob_policies`` plays 40 seeds of each page and prints how many were solved, as one line of JSON last.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator

from agentgym import Message, ToolCall, assistant, call
from agentgym_envs.web.browser import chromium
from agentgym_envs.web.miniwob import MiniWoB

Policy = Callable[["Reader"], Iterator[ToolCall]]
SEEDS = 40


class Reader:
    """What an agent reads of the page as it is now."""

    def __init__(self, env: MiniWoB) -> None:
        self.env = env

    @property
    def lines(self) -> list[str]:
        view = self.env.state.view
        return list(view.page.text(view.fields, view.focus))

    @property
    def wish(self) -> str:
        return self.lines[0]

    @property
    def quoted(self) -> list[str]:
        return re.findall(r'"(.*?)"', self.wish)

    def all(self, role: str) -> list[tuple[int, str]]:
        """Numbers and names of the elements with this role."""
        return [(i, c.name) for i, c in enumerate(self.env.state.view.page.controls, 1) if c.role.split()[0] == role]

    def click(self, role: str, name: str) -> ToolCall:
        return call("click", element=next(i for i, n in self.all(role) if n == name or n.startswith(f"{name} ")))

    def type(self, which: int, text: str) -> ToolCall:
        return call("type", element=self.all("textbox")[which][0], text=text)

    def submit(self) -> ToolCall:
        return self.click("button", "Submit")


def middle(name: str) -> tuple[int, int]:
    """Where a shape is."""
    found = re.search(r" at (-?\d+),(-?\d+)$", name)
    assert found
    return int(found[1]), int(found[2])


def click_test(page: Reader) -> Iterator[ToolCall]:
    yield page.click("button", "Click Me!")


def click_test_2(page: Reader) -> Iterator[ToolCall]:
    yield page.click("button", "ONE")


def click_button(page: Reader) -> Iterator[ToolCall]:
    yield page.click("button", page.quoted[0])


def click_button_sequence(page: Reader) -> Iterator[ToolCall]:
    yield page.click("button", "ONE")
    yield page.click("button", "TWO")


def click_link(page: Reader) -> Iterator[ToolCall]:
    yield page.click("clickable", page.quoted[0])


def click_dialog(page: Reader) -> Iterator[ToolCall]:
    yield page.click("button", "Close")


def click_dialog_2(page: Reader) -> Iterator[ToolCall]:
    yield page.click("button", page.quoted[0].replace("x", "Close"))


def click_checkboxes(page: Reader) -> Iterator[ToolCall]:
    for name in re.fullmatch(r"Select (.*) and click Submit\.", page.wish)[1].split(", "):  # type: ignore[index]
        if name != "nothing":
            yield page.click("checkbox", name)
    yield page.submit()


def click_option(page: Reader) -> Iterator[ToolCall]:
    yield page.click("radio", page.wish.removeprefix("Select ").removesuffix(" and click Submit."))
    yield page.submit()


def choose_list(page: Reader) -> Iterator[ToolCall]:
    name = page.wish.removeprefix("Select ").removesuffix(" from the list and click Submit.")
    yield call("select", element=page.all("combobox")[0][0], option=name)
    yield page.submit()


def click_scroll_list(page: Reader) -> Iterator[ToolCall]:
    names = page.wish.removeprefix("Select ").removesuffix(" from the scroll list and click Submit.").split(", ")
    for name in names:
        yield call("select", element=page.all("listbox")[0][0], option=name)
    yield page.submit()


def enter_text(page: Reader) -> Iterator[ToolCall]:
    yield page.type(0, page.quoted[0])
    yield page.submit()


def enter_password(page: Reader) -> Iterator[ToolCall]:
    yield page.type(0, page.quoted[0])
    yield page.type(1, page.quoted[0])
    yield page.submit()


def login_user(page: Reader) -> Iterator[ToolCall]:
    yield page.type(0, page.quoted[0])
    yield page.type(1, page.quoted[1])
    yield page.click("button", "Login")


def focus_text_2(page: Reader) -> Iterator[ToolCall]:
    which = int(re.search(r"\d", page.wish)[0])  # type: ignore[index]
    yield call("click", element=page.all("textbox")[which - 1][0])


def click_tab(page: Reader) -> Iterator[ToolCall]:
    yield page.click("presentation", page.wish.removeprefix("Click on ").removesuffix("."))


def click_tab_2(page: Reader) -> Iterator[ToolCall]:
    for tab in ("Tab #1", "Tab #2", "Tab #3"):
        yield page.click("presentation", tab)
        if page.quoted[0] in [name for _, name in page.all("clickable")]:
            yield page.click("clickable", page.quoted[0])


def click_collapsible(page: Reader) -> Iterator[ToolCall]:
    yield call("click", element=page.all("tab")[0][0])
    yield page.submit()


def click_color(page: Reader) -> Iterator[ToolCall]:
    """The colour is said in words, or shown by a box of its own."""
    said = re.search(r"Click on the (\w+) colored box", page.wish)
    boxes = [(i, name.split()[1]) for i, name in page.all("box")]
    colour = said[1] if said else boxes.pop(0)[1]
    yield call("click", element=next(i for i, other in boxes if other == colour))


def simple_arithmetic(page: Reader) -> Iterator[ToolCall]:
    a, sign, b, _ = page.lines[1].split()
    yield page.type(0, str({"+": int(a) + int(b), "-": int(a) - int(b), "x": int(a) * int(b)}[sign]))
    yield page.submit()


def read_table(page: Reader) -> Iterator[ToolCall]:
    key = page.wish.removeprefix("Enter the value of ").partition(" into ")[0]
    yield page.type(0, next(line for line in page.lines if line.startswith(f"{key} | ")).partition(" | ")[2])
    yield page.submit()


def find_word(page: Reader) -> Iterator[ToolCall]:
    number = int(re.search(r"\d+", page.wish)[0])  # type: ignore[index]
    yield page.type(0, page.lines[1].split()[number - 1].strip(".,"))
    yield page.submit()


def ascending_numbers(page: Reader) -> Iterator[ToolCall]:
    """The numbers are hidden after the first one: their places have to be kept in mind."""
    for _, name in sorted(page.all("text"), key=lambda shape: int(shape[1].split()[0])):
        x, y = middle(name)
        yield call("click_at", x=x, y=y)


def grid_coordinate(page: Reader) -> Iterator[ToolCall]:
    """By the place on the page alone: the grid's middle is where its axes cross, its points are 30 pixels apart."""
    x, y = map(int, re.search(r"\((-?\d),(-?\d)\)", page.wish).groups())  # type: ignore[union-attr]
    middle_x, middle_y = middle(page.all("line")[0][1])
    yield call("click_at", x=middle_x + 30 * x, y=middle_y - 30 * y)


def drag_box(page: Reader) -> Iterator[ToolCall]:
    small, large = (middle(name) for _, name in page.all("clickable"))
    yield call("drag", x=small[0], y=small[1], to_x=large[0], to_y=large[1])
    yield page.submit()


def email_inbox_delete(page: Reader) -> Iterator[ToolCall]:
    name = re.search(r"Find the email by (\w+) ", page.wish)[1]  # type: ignore[index]
    after = page.lines[page.lines.index(name, 1) :]
    yield call("click", element=int(re.search(r'\[(\d+)\] clickable "trash"', "\n".join(after))[1]))  # type: ignore[index]


POLICIES: dict[str, Policy] = {
    "ascending-numbers": ascending_numbers,
    "choose-list": choose_list,
    "click-button": click_button,
    "click-button-sequence": click_button_sequence,
    "click-checkboxes": click_checkboxes,
    "click-checkboxes-large": click_checkboxes,
    "click-collapsible": click_collapsible,
    "click-color": click_color,
    "click-dialog": click_dialog,
    "click-dialog-2": click_dialog_2,
    "click-link": click_link,
    "click-option": click_option,
    "click-scroll-list": click_scroll_list,
    "click-tab": click_tab,
    "click-tab-2": click_tab_2,
    "click-test": click_test,
    "click-test-2": click_test_2,
    "drag-box": drag_box,
    "email-inbox-delete": email_inbox_delete,
    "enter-password": enter_password,
    "enter-text": enter_text,
    "find-word": find_word,
    "focus-text-2": focus_text_2,
    "grid-coordinate": grid_coordinate,
    "login-user": login_user,
    "read-table": read_table,
    "simple-arithmetic": simple_arithmetic,
}


class Scripted:
    """Plays one episode after the other."""

    def __init__(self, env: MiniWoB) -> None:
        self.env = env
        self._actions: Iterator[ToolCall] = iter(())

    async def play(self, page: str, seed: int) -> float:
        """The raw reward; of a policy that does not know what to do, -1."""
        await self.env.areset(options={"task": f"{page}/{seed}"})
        self._actions = POLICIES[page](Reader(self.env))
        reward, ended = -1.0, False
        while not ended:
            action = self.act()
            if action is None:
                break
            _, reward, terminated, truncated, _ = await self.env.astep(action)
            ended = terminated or truncated
        return reward if ended else -1.0

    def act(self) -> Message | None:
        """The next action."""
        try:
            return assistant("", next(self._actions))
        except (StopIteration, IndexError):
            return None


async def solved(page: str, seeds: range) -> list[int]:
    """The seeds whose raw reward was 1."""
    player = Scripted(MiniWoB(page))
    found = [seed for seed in seeds if await player.play(page, seed) == 1.0]
    await player.env.aclose()
    return found


async def main() -> dict[str, int]:
    """How many seeds of each page were solved."""
    counts = {}
    for page in POLICIES:
        counts[page] = len(await solved(page, range(SEEDS)))
        print(f"{page:24} {counts[page]:3} of {SEEDS}", flush=True)
    return counts


if __name__ == "__main__":
    measured = asyncio.run(main())
    chromium().close()
    print(json.dumps(measured))
