"""``web/Shop-v0`` without a browser: its tools, its gold policy, and the ways back to a state."""

import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agentgym import SPLITS, EnvironmentFailure, ErrorCategory, assistant, call
from agentgym.checks import check_env, validate_env
from agentgym_envs.web.env import LINES, WebEnvironment
from agentgym_envs.web.errand import LEVELS
from agentgym_envs.web.shop.catalogue import make_product
from agentgym_envs.web.shop.env import ShopEnvironment
from tests.envs.web_walk import SITES, act, finish, walk, wander

SIZE = 800


@pytest.fixture
def env() -> Iterator[ShopEnvironment]:
    made = ShopEnvironment(items=SIZE)
    made.reset(options={"task": "train-0"})
    yield made
    made.close()


def refused(env: ShopEnvironment, name: str, **arguments: Any) -> str:
    key = env.state_key()
    observation, *_, info = env.step(assistant("", call(name, **arguments)))
    assert info["errors"] == (ErrorCategory.TOOL_ERROR,)
    assert env.state_key() == key
    return observation.messages[0].content.removeprefix("Error: ")


@pytest.mark.parametrize("made", SITES)
def test_conformance(made: Any) -> None:
    assert not [check for check in check_env(made, tasks=4, items=SITES[made]) if not check.ok]


@pytest.mark.parametrize("level", [None, *LEVELS])
@pytest.mark.parametrize("made", SITES)
def test_the_oracle_solves_every_task(made: Any, level: str | None) -> None:
    env = made(level, items=SITES[made])
    for split in SPLITS:
        validation = validate_env(env, split, 12)
        assert (validation.gold_passed, validation.floor_passed) == (12, 0)
    env.close()


@pytest.mark.parametrize("made", SITES)
def test_items_of_one_split_are_of_no_other(made: Any) -> None:
    env = made(items=SITES[made])
    items = [{t.data["goal"]["item"] for t in env.tasks(split)[:200]} for split in SPLITS]
    assert not set.intersection(*items[:2])
    assert not set.intersection(*items[1:])
    assert {t.difficulty for t in env.tasks()[:50]} == set(LEVELS)


@pytest.mark.parametrize("made", SITES)
def test_walking_about_gets_nothing_that_is_wanted(made: Any) -> None:
    env = made(items=SITES[made])
    ends = [walk(env, task, seed, env.max_turns)[-1] for seed, task in enumerate(env.tasks("test")[:40])]
    assert not any(info["success"] for *_, info, _ in ends)
    env.close()


@pytest.mark.parametrize("made", SITES)
def test_the_oracle_mends_what_went_wrong(made: Any) -> None:
    """After anything that an agent may have done, the goal can be reached: what is wrong is cancelled, or taken back."""
    env = made(items=SITES[made])
    env.max_turns = 200
    wrongs = 0
    for seed, task in enumerate(env.tasks()[:20]):
        walk(env, task, seed, 20)
        env.goal, goal = env._task(random.Random(seed)).data, env.goal  # somebody else's errand, up to the last step
        env.goal = msgspec.convert(env.goal["goal"], env.goals)
        for _ in range(rng_steps(seed)):
            if (action := env.oracle()).tool_calls[0].name == "finish":
                break
            env.step(action)
        env.goal = goal
        wrongs += bool(env.things("hold") or env.things("order"))
        assert finish(env)["success"]
    assert wrongs > 10
    env.close()


def rng_steps(seed: int) -> int:
    """So many steps of an errand, sometimes all."""
    return random.Random(seed).choice((8, 12, 100))


def button(env: WebEnvironment, name: str) -> int:
    return next(i for i, c in enumerate(env.state.view.page.controls, 1) if c.name == name)


@pytest.mark.parametrize("made", SITES)
def test_a_walk_shows_the_same_from_a_snapshot_on(made: Any) -> None:
    env = made(items=SITES[made])
    for seed in range(12):
        other, rng = made(items=SITES[made]), random.Random(seed)
        walk(env, env.tasks()[seed], seed, 12, gold=0.4)
        snapshot, actions, seen = env.snapshot(), [], []
        for _ in range(8):
            actions.append(wander(env, rng))
            seen.append((*env.step(actions[-1]), env.state_key()))
        for place in (env, other):
            place.restore(snapshot)
            assert [(*place.step(a), place.state_key()) for a in actions] == seen
        other.close()
    env.close()


def test_equal_states_have_equal_keys(env: ShopEnvironment) -> None:
    keys = {}
    for name, fields in {"type": {"element": 2, "text": "lamp"}, "click": {"element": 2}, "goto": {"address": "/cart"}}.items():
        env.reset(options={"task": "train-0"})
        act(env, name, **fields)
        keys[name] = env.state_key()
    assert len(set(keys.values())) == 3
    env.reset(options={"task": "train-0"})
    act(env, "type", element=2, text="another")
    act(env, "type", element=2, text="lamp")
    assert env.state_key() == keys["type"]


def test_a_site_that_does_not_come_back(env: ShopEnvironment) -> None:
    snapshot = env.snapshot()
    env._session.load = lambda image: env._session.db.execute("DELETE FROM account")  # type: ignore[method-assign]
    with pytest.raises(EnvironmentFailure, match="did not come back"):
        env.restore(snapshot)
    env.close()
    with pytest.raises(EnvironmentFailure, match="was closed"):
        act(env, "goto", address="/")
    with pytest.raises(EnvironmentFailure, match="was closed"):
        env.oracle()


# ---- tools -----------------------------------------------------------------------------------------------------------------


def test_there_and_back(env: ShopEnvironment) -> None:
    first = env.state.view
    found = act(env, "search", query="lamp")
    assert found.startswith("<page>\nResults for lamp - Harbour Goods, /search?q=lamp\n")
    assert '[2] searchbox "Search products" = "lamp"' in found
    product = button(env, "Next page")
    assert "page=2" in act(env, "click", element=product)
    act(env, "type", element=2, text="kept?")
    assert act(env, "back") == found
    act(env, "back")
    assert env.state.view == first
    assert refused(env, "back") == "there is no page before this one"
    act(env, "goto", address="/refused/empty")
    assert "no search field" in refused(env, "search", query="x")


def test_what_cannot_be_done(env: ShopEnvironment) -> None:
    act(env, "goto", address="/product/7")
    controls = env.state.view.page.controls
    combobox = next(i for i, c in enumerate(controls, 1) if c.kind == "select")
    assert refused(env, "click", element=0) == f"this page has no element 0: its elements are 1 to {len(controls)}"
    assert refused(env, "click", element=combobox) == f"element {combobox} is a combobox: use another tool for it"
    env.step(assistant("", call("select", element=combobox, option="choose")))
    assert refused(env, "press", key="Enter") == f"element {combobox}, which is focused, is a combobox: choose with select"
    assert refused(env, "type", element=1, text="x") == "element 1 is a link: use another tool for it"
    assert refused(env, "select", element=combobox, option="no") == f"element {combobox} has no such option"
    assert refused(env, "type", element=2, text="x" * 1001) == "at most 1000 characters can be typed at once"
    for address in ("http://example.com", "//example.com", "file:///etc/passwd", "data:text/html,x", "javascript:x", "/" * 1001):
        assert refused(env, "goto", address=address).startswith("an address is a path on this site")


def test_what_is_typed_is_what_a_field_can_hold(env: ShopEnvironment) -> None:
    act(env, "goto", address="/product/7")
    fields = env.state.view.page.controls
    area = next(i for i, c in enumerate(fields, 1) if c.kind == "area")
    act(env, "type", element=2, text="a\r\nb\0c\td\x7fe")
    act(env, "type", element=area, text="a\r\nb\0c")
    assert env.state.view.fields == {2: "a b c d e", area: "a\nb c"}
    act(env, "type", element=2, text="")
    assert env.state.view.fields == {area: "a\nb c"}


def test_long_pages_are_scrolled(env: ShopEnvironment) -> None:
    for number in range(40):  # two lines each
        options = {axis: choices[0].value for axis, choices in make_product(0, number).options.items()}
        env._session.db.execute("INSERT INTO cart(product, options, quantity) VALUES (?, ?, 1)", (number, json.dumps(options)))
    top = act(env, "goto", address="/cart")
    lines = len(env.state.view.page.lines)
    assert lines > LINES
    assert top.endswith(f"(lines 1 to {LINES} of {lines}: scroll to see others)")
    assert "Go to checkout" not in top
    bottom = act(env, "scroll", direction="down")
    assert "Go to checkout" in bottom
    assert bottom.endswith(f"(lines {LINES + 1} to {lines} of {lines}: scroll to see others)")
    assert act(env, "scroll", direction="down") == bottom
    assert bottom == act(env, "press", key="Escape")
    assert act(env, "scroll", direction="up") == act(env, "scroll", direction="up") == top
    act(env, "scroll", direction="down")
    assert "scroll to see" not in act(env, "goto", address="/")
    assert env.state.scroll == 0
