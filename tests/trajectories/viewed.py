"""Runs to be looked at, and a browser to look with, for the tests and the benchmark of the page."""

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from agentgym import ErrorCategory, Message, StopReason, Task, assistant, call, user
from agentgym.browsers import of_the_system
from agentgym_trajectories.tree import Episode
from agentgym_trajectories.view.run import Run
from agentgym_trajectories.view.server import application

ENVS = ("desk/Orders-v0", "games/KeyDoor-v0", "code/Maths-v0")
VERSIONS = ("policy@aaaa1111", "policy@bbbb2222", "policy@bbbb2222+agent-q/4x16")
MISTAKES = (ErrorCategory.TOOL_ERROR, ErrorCategory.BAD_FORMAT)


def played(number: int, turns: int = 4, text: str = "Please look after my order.") -> Episode:
    """One of many plain episodes; every third is solved, every fifth has a mistake."""
    rng = random.Random(number)
    task = Task(f"Customer {number}: {text}", {"n": number}, f"train-{number // 2}", difficulty=("easy", "hard")[number % 2])
    episode = Episode(ENVS[number % 3], task, number % 2, VERSIONS[number % 2], seconds=rng.random())
    episode.tools = ({"type": "function", "function": {"name": "get_order", "parameters": {"type": "object", "properties": {}}}},)
    parent = episode.add(-1, "observation", (Message("system", "Help people."), user(task.prompt))).id
    for turn in range(turns):
        last = turn == turns - 1
        action = (
            assistant("Done.") if last else assistant("", call("get_order", order_id=f"O{number}", turn=turn), thinking="Hm.")
        )
        parent = episode.add(parent, "action", (action,), token_ids=[rng.randrange(500) for _ in range(20)], reward=0.0).id
        node = episode.nodes[parent]
        node.logprobs, node.state_key = [-rng.random() for _ in range(20)], f"s{turn}"
        if turn == 0 and number % 5 == 0:
            node.errors = (MISTAKES[number // 5 % 2],)
        if not last:
            answer = Message("tool", f'{{"status":"sent","turn":{turn}}}', (), "call00000", "get_order")
            parent = episode.add(parent, "observation", (answer,), token_ids=[7] * 15).id
    end = episode.nodes[parent]
    end.reward = float(number % 3 == 0)
    end.end, end.success, end.rewards = StopReason.TERMINATED, number % 3 == 0, {"solved": end.reward, "tidy": 0.5}
    return episode


def grown(actions: int, width: int = 4, number: int = 0) -> Episode:
    """A search tree of so many actions."""
    rng = random.Random(number)
    episode = Episode(ENVS[1], Task("Find the way out.", {}, f"train-tree-{number}"), 0, VERSIONS[2])
    open_states = [episode.add(-1, "observation", (user("You are in a cell."),)).id]
    while len(episode.nodes) < 2 * actions:
        state = open_states.pop(rng.randrange(len(open_states)))
        for branch in range(width):
            taken = episode.add(state, "action", (assistant("", call("go", door=f"{state}-{branch}")),), reward=0.0)
            taken.visits, taken.value = rng.randrange(1, 30), rng.random()
            seen = (Message("tool", "A room.", (), "call00000", "go"),)
            open_states.append(episode.add(taken.id, "observation", seen).id)
    for state in open_states:  # nobody answers the last observations: their rooms are ends
        end = episode.nodes[episode.nodes[state].parent]
        end.end, end.reward, end.success = StopReason.TERMINATED, rng.random(), rng.random() > 0.5
    gone, kept = set(open_states), {}
    nodes = [n for n in episode.nodes if n.id not in gone]
    for place, node in enumerate(nodes):
        kept[node.id] = place
        node.id, node.parent = place, kept.get(node.parent, -1)
    episode.nodes = nodes
    return episode


@contextmanager
def served(path: Path, **options: Any) -> Iterator[str]:
    """The page's address."""
    run = Run(path, **options)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(application(run), log_level="critical", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        run.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; without one the test is skipped, in continuous integration it fails."""
    program = of_the_system()
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium, and continuous integration has to have one")
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


def ready(page: Page, address: str) -> Page:
    """Open an address and wait until the list is there."""
    page.goto(address)
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    return page
