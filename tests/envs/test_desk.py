"""The desk: rules, judgement, states, and tasks that no template solves."""

import random
import re
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import ErrorCategory, Message, ToolCall, ToolError, UserError, assistant, call
from agentgym_envs.desk.env import LEVELS, Orders
from agentgym_envs.desk.requests import Request, apply, forbidden, from_task, plan
from agentgym_envs.desk.store import build, differing_rows, money

ID = re.compile(r"\b[COP]\d{3,5}\b")


def solve(env: Orders, task: Any) -> list[Message]:
    """The oracle's turns."""
    env.reset(options={"task": task})
    turns = []
    while True:
        turns.append(env.oracle())
        *_, terminated, truncated, info = env.step(turns[-1])
        if terminated or truncated:
            assert info["success"], (task, turns)
            return turns


def replay(env: Orders, task: Any, turns: list[Message]) -> bool:
    env.reset(options={"task": task})
    for turn in turns:
        *_, terminated, truncated, info = env.step(turn)
        if terminated or truncated:
            return bool(info["success"])
    return False


@pytest.mark.parametrize("level", [None, *LEVELS])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_oracle_solves_every_task(level: str | None, split: str) -> None:
    env = Orders(level)
    seen = Counter()
    for task in env.tasks(split)[:150]:
        turns = solve(env, task)
        seen.update(task.difficulty for _ in (1,))
        assert len(turns) <= env.max_turns
    assert set(seen) == (set(LEVELS) if level is None else {level})


def test_every_kind_and_every_rule_occurs() -> None:
    kinds, rules = Counter(), Counter()
    for task in Orders("hard").tasks()[:300]:
        store = build(task.data["seed"])
        for r in from_task(task.data):
            kinds[r.kind] += 1
            rules[forbidden(store, task.data["customer"], r)] += 1
    assert set(kinds) == {"status", "paid", "cancel", "address", "refund", "exchange"}
    assert set(rules) == {None, "R1", "R2", "R3", "R4", "R5"}
    assert min(rules.values()) >= 10


def test_templates_cannot_be_memorised() -> None:
    """Each id has to be copied from the request or from a result, and no solution of a training task solves a test task."""
    env = Orders()
    train = [solve(env, t) for t in env.tasks("train")[:300]]
    for task in env.tasks("test")[:100]:
        turns = solve(env, task)
        observation, _ = env.reset(options={"task": task})
        shown = " ".join(m.content for m in observation.messages)
        for turn in turns:
            for made in turn.tool_calls:
                for wanted in ID.findall(str(made.arguments)):
                    assert wanted in shown
            shown += " ".join(m.content for m in env.step(turn)[0].messages)
    assert not any(replay(env, task, turns) for task in env.tasks("test")[:60] for turns in train)


def test_doing_nothing_and_saying_everything_solve_nothing() -> None:
    env = Orders()
    answers = ["", "R1 R2 R3 R4 R5", "pending shipped delivered cancelled", "I am sorry, rule R2 forbids this.", "x" * 500]
    for task in env.tasks("test")[:200]:
        for answer in answers:
            env.reset(options={"task": task})
            info = env.step(answer)[-1]
            assert not info["success"], (task, answer)


@pytest.mark.parametrize(
    ("answer", "states"),
    [
        ("You get 45.90 back.", True),
        ("45.90", True),
        ("You get 145.90 back.", False),
        ("You get 45.905 back.", False),
        ("You get -45.90 back.", False),
        ("You get 45.9 back.", False),
        ("You get 45.90 back, though R3 forbids it.", False),
        ("45.90" + " " * 400, False),
    ],
)
def test_an_answer_has_to_state_the_fact_and_no_rule(answer: str, states: bool) -> None:
    env = Orders()
    env.facts = ["45.90"]
    assert env._states_facts(answer) is states


@pytest.mark.parametrize(
    ("answer", "states"),
    [
        ("It is shipped.", True),
        ("It is shipped or delivered.", False),
        ("pending shipped delivered", False),
        ("It is cancelled, shipped.", True),
    ],
)
def test_naming_every_status_is_no_answer(answer: str, states: bool) -> None:
    env = Orders()
    env.facts = ["shipped"]
    assert env._states_facts(answer) is states


def test_the_rules_are_the_agents_to_keep() -> None:
    """The tools do what is physically possible: a forbidden change goes through, and costs the reward."""
    env = Orders("easy")
    for task in env.tasks()[:400]:
        (r,) = from_task(task.data)
        env.reset(options={"task": task})
        if r.kind == "cancel" and env.facts == ["R2"] and env.start.orders[r.order].status != "cancelled":
            observation, *_ = env.step(assistant("", call("cancel_order", order_id=r.order)))
            assert "refunded" in observation.messages[0].content
            info = env.step("I am sorry, rule R2 forbids this.")[-1]
            assert info["rewards"] == {"solved": 0.0, "state": 0.0, "answer": 1.0, "read": 0.0}
            return
    pytest.fail("no such task")


def test_acting_before_reading_is_no_solution() -> None:
    env = Orders("easy")
    for task in env.tasks()[:200]:
        (r,) = from_task(task.data)
        env.reset(options={"task": task})
        if r.kind == "cancel" and not env.facts[0].startswith("R"):
            read, act = call("get_order", order_id=r.order), call("cancel_order", order_id=r.order)
            for turns in ([assistant("", act, read)], [assistant("", read, act)], [assistant("", act), assistant("", read)]):
                env.reset(options={"task": task})
                for turn in turns:
                    env.step(turn)
                assert env.step(env.facts[0])[-1]["rewards"] == {"solved": 0.0, "state": 1.0, "answer": 1.0, "read": 0.0}
            return
    pytest.fail("no such task")


def test_tools_answer_and_refuse() -> None:
    env = Orders()
    env.reset(options={"task": "train-0"})
    store = env.state.store
    order = next(iter(store.orders.values()))
    item = store.items_of(order.order_id)[0].product_id
    empty = next(p for p in store.products.values() if p.stock == 0)
    for made, text in (
        (call("get_customer", customer_id=order.customer_id), store.customers[order.customer_id].name),
        (call("list_orders", customer_id=order.customer_id), order.order_id),
        (call("get_order", order_id=order.order_id), order.status),
        (call("get_payment", order_id=order.order_id), money(store.payments[order.order_id].paid)),
        (call("get_product", product_id=item), store.products[item].name),
        (call("find_product", name=store.products[item].name.upper()), item),
        (call("change_address", order_id=order.order_id, address="1 New Road"), "done"),
        (call("refund_item", order_id=order.order_id, product_id=item), "refunded"),
    ):
        result = env.tools.call(made)
        assert result.error is None
        assert text in result.message.content
    assert env.state.store.orders[order.order_id].address == "1 New Road"
    for made, text in (
        (call("get_customer", customer_id="C0"), "no customer C0"),
        (call("list_orders", customer_id="C0"), "no customer C0"),
        (call("get_order", order_id="O0"), "no order O0"),
        (call("get_product", product_id="P0"), "no product P0"),
        (call("find_product", name="moon"), "no product named moon"),
        (call("refund_item", order_id=order.order_id, product_id=item), "refunded already"),
        (call("refund_item", order_id=order.order_id, product_id="P0"), "no item"),
        (call("exchange_item", order_id=order.order_id, product_id=item, new_product_id=empty.product_id), "refunded already"),
        (call("exchange_item", order_id=order.order_id, product_id="P0", new_product_id=item), "no item"),
    ):
        result = env.tools.call(made)
        assert result.error is ErrorCategory.TOOL_ERROR
        assert text in result.message.content
    other = next(o for o in store.orders if o != order.order_id)
    held = store.items_of(other)[0].product_id
    for made, text in (
        (call("exchange_item", order_id=other, product_id=held, new_product_id=empty.product_id), "out of stock"),
        (call("exchange_item", order_id=other, product_id=held, new_product_id="P0"), "no product P0"),
        (call("cancel_order", order_id=order.order_id), '{"refunded"'),
        (call("cancel_order", order_id=order.order_id), "cancelled already"),
        (call("refund_item", order_id=order.order_id, product_id=item), "is cancelled"),
    ):
        assert text in env.tools.call(made).message.content


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_money_and_goods_are_conserved(seed: int, rng: random.Random) -> None:
    """Whatever is done, pieces neither appear nor vanish, and never more is paid back than was paid."""
    store = build(seed)

    def pieces() -> int:
        cancelled = {o.order_id for o in store.orders.values() if o.status == "cancelled"}
        return sum(p.stock for p in store.products.values()) + sum(i.order_id not in cancelled for i in store.items.values())

    before = pieces()
    for _ in range(12):
        order = rng.choice(list(store.orders))
        item = rng.choice(store.items_of(order)).product_id
        made = Request(
            rng.choice(["cancel", "address", "refund", "exchange"]), order, item, rng.choice(list(store.products)), "1 Elm Road"
        )
        with suppress(ToolError):
            apply(store, made)
    assert pieces() == before
    assert all(0 <= p.refunded <= p.paid for p in store.payments.values())


def test_a_copy_shares_nothing_that_changes() -> None:
    store = build(7)
    twin = store.copy()
    assert differing_rows(store, twin) == 0
    order = next(iter(twin.orders))
    twin.cancel(order)
    assert differing_rows(store, twin) >= 2
    assert store == build(7)


def test_step_rewards_add_up_to_the_progress_made() -> None:
    env = Orders(step_rewards=True)
    for task in env.tasks()[:60]:
        env.reset(options={"task": task})
        changes, progress = env.changes, 0.0
        while True:
            _, reward, terminated, _, info = env.step(env.oracle())
            progress += info["rewards"]["progress"]
            if terminated:
                break
        assert progress == pytest.approx(float(changes > 0))
        assert info["success"]
        assert reward == 1.0
    env.reset(options={"task": "train-0"})
    order = next(iter(env.state.store.orders))
    wrong = env.step(assistant("", call("change_address", order_id=order, address="0 Nowhere")))
    assert wrong[1] < 0


def test_the_oracle_goes_on_from_a_mistake() -> None:
    env = Orders("medium")
    for task in env.tasks()[:40]:
        env.reset(options={"task": task})
        env.step(assistant("", call("get_order", order_id="O0")))
        env.step('<tool_call>{"name": "nothing"')
        while True:
            *_, terminated, truncated, info = env.step(env.oracle())
            if terminated or truncated:
                break
        assert info["success"]


def test_plans_read_before_they_act() -> None:
    for task in Orders().tasks()[:100]:
        store = build(task.data["seed"])
        for r in from_task(task.data):
            calls: list[ToolCall] = [c for _, c in plan(store, task.data["customer"], r)]
            names = [c.name for c in calls]
            assert "get_order" in names
            assert all(n in ("list_orders", "get_order", "find_product", "get_product") for n in names[:-1])


def test_an_unknown_level_is_one_clear_error() -> None:
    with pytest.raises(UserError, match="no level 'brutal': use one of easy, medium, hard"):
        Orders("brutal")
