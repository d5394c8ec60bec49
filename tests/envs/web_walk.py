"""Somebody who clicks about on a web site without any aim."""

import random
from typing import Any

from agentgym import Message, ToolCall, assistant, call
from agentgym_envs.web.env import WebEnvironment

WORDS = ("lamp", "red", "desk lamp", "mug", "", "x y", 'a "b"', "é~*", "<b>", "2", "-1", "lamp\nmug")
ADDRESSES = ("/", "/cart", "/checkout", "/search?q=lamp&page=2", "/product/7", "/orders", "/orders/1", "/nothing", "evil")


def wander(env: WebEnvironment, rng: random.Random) -> Message:
    """One action, most of them on a control of the page."""
    controls = env.state.view.page.controls
    number = rng.randint(1, len(controls))
    control = controls[number - 1]
    on_control: dict[str, ToolCall] = {
        "select": call("select", element=number, option=rng.choice([*control.options.values(), "no such option"])),
        "text": call("type", element=number, text=rng.choice(WORDS)),
        "area": call("type", element=number, text=rng.choice(WORDS)),
    }
    others: list[ToolCall] = [
        call("press", key=rng.choice(("Enter", "Enter", "Escape"))),
        call("back"),
        call("search", query=rng.choice(WORDS)),
        call("scroll", direction=rng.choice(("down", "up"))),
        call("goto", address=rng.choice(ADDRESSES)),
        call("click", element=number + rng.choice((0, 0, 100))),
    ]
    aimless = rng.random()
    if aimless < 0.25:
        return assistant("", rng.choice(others))
    if aimless < 0.45 and (buttons := [i for i, c in enumerate(controls, 1) if c.kind == "button"]):
        return assistant("", call("click", element=rng.choice(buttons)))
    return assistant("", on_control.get(control.kind, call("click", element=number)))


def walk(env: WebEnvironment, task: Any, seed: int, steps: int) -> list[Any]:
    """What a walk shows: the opening, and what each step returned."""
    rng = random.Random(seed)
    seen: list[Any] = [env.reset(seed=0, options={"task": task})]
    for _ in range(steps):
        seen.append((*env.step(wander(env, rng)), env.state_key()))
        if seen[-1][2] or seen[-1][3]:
            break
    return seen
