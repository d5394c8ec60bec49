"""tools/Synth-v0: what a wish needs, what is judged, gaps, unsaid values, faults, noise, names; held-out APIs."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import ErrorCategory, Message, ToolError, UserError, assistant, call, make
from agentgym.checks import check_env, validate_env
from agentgym.sampling import Scripted
from agentgym.tasks import SPLITS
from agentgym_envs.tools.synth.api import GAPS, HELD_OUT_APIS, SOMETIMES, TAKES, TRAIN_APIS, api, words
from agentgym_envs.tools.synth.env import Synth
from agentgym_envs.tools.synth.wishes import LEVELS, Wish, calling, goal, possible
from agentgym_envs.tools.synth.world import World, build, perform


def solve(env: Synth, task: Any) -> list[Message]:
    """The oracle's turns."""
    env.reset(options={"task": task})
    turns = []
    while True:
        turns.append(env.oracle())
        *_, terminated, truncated, info = env.step(turns[-1])
        if terminated or truncated:
            assert info["success"], (task, turns)
            return turns


def test_conformance() -> None:
    assert not [check for check in check_env("tools/Synth-v0", tasks=3) if not check.ok]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_solves_every_task_and_doing_nothing_none(level: str, split: str) -> None:
    env = Synth(level)
    found = validate_env(env, split, 60)
    assert (found.gold_passed, found.floor_passed) == (60, 0)
    env.close()


def test_test_tasks_are_of_apis_that_no_other_task_knows() -> None:
    env = Synth()
    numbers = {split: {t.data["api"] for t in env.tasks(split)[:200]} for split in SPLITS}
    assert numbers["train"] == numbers["validation"] == set(range(TRAIN_APIS))
    assert numbers["test"] == set(range(TRAIN_APIS, TRAIN_APIS + HELD_OUT_APIS))
    nouns = [{api(n).noun for n in numbers[split]} for split in ("train", "test")]
    assert not nouns[0] & nouns[1]
    assert not {api(n).other for n in numbers["train"]} & nouns[1]
    assert len({(a := api(n)).noun + a.amount + a.state + "".join(a.operations) for n in range(32)}) == 32
    env.close()


def test_every_kind_of_wish_gap_and_fault_occurs() -> None:
    env, seen = Synth(), Counter[str]()
    for task in env.tasks()[:400]:
        wishes = msgspec.convert(task.data["wishes"], list[Wish])
        seen.update(w.kind for w in wishes)
        seen.update("impossible" for w in wishes if not possible(api(task.data["api"]), w))
        seen.update("unsaid" for w in wishes if w.unsaid)
        seen.update("named" for w in wishes if w.named)
        seen.update(["two"] * (len(wishes) - 1) + ["fault"] * bool(task.data.get("faults")))
        seen.update(["renamed"] * bool(task.data.get("renaming")) + ["noise"] * ("noise" in task.data))
    assert set(seen) == {"read", *SOMETIMES, "impossible", "unsaid", "named", "two", "fault", "renamed", "noise"}
    assert min(seen.values()) >= 10
    env.close()


def test_saying_cannot_solves_what_cannot_be_done_and_nothing_else() -> None:
    env = Synth("easy")
    solved = []
    for task in env.tasks("test")[:150]:
        env.reset(options={"task": task})
        info = env.step("I cannot do that.")[-1]
        impossible = not all(possible(api(task.data["api"]), w) for w in msgspec.convert(task.data["wishes"], list[Wish]))
        assert info["success"] is impossible
        solved.append(impossible)
    assert 0.08 < sum(solved) / len(solved) < 0.28
    env.close()


# ---- a world worked through by hand ------------------------------------------------------------------------------------------------


def task_of(env: Synth, *wishes: Wish, **more: Any) -> Any:
    """A task of API 0 with these wishes."""
    text = "Please."
    data = {"api": 0, "seed": 5, "wishes": msgspec.to_builtins(wishes), "user": {"opening": text}} | more
    return type(env.tasks()[0])(text, data, "by-hand")


def gold_call(env: Synth, operation: str, **given: Any) -> Message:
    return assistant("", env._call(operation, given))


def test_operations_and_their_side_effects() -> None:
    spec = api(0)
    world = build(spec, 5)
    (a, b, *_), start = world.records, world.copy()
    before = {k: r[spec.amount] for k, r in world.records.items()}
    assert perform(spec, world, "find", {"name": world.records[a]["name"]}) == {"id": a}
    assert perform(spec, world, "add", {"id": a, "by": 5}) == {spec.amount: before[a] + 5}
    assert perform(spec, world, "move", {"id": a, "to": b, "by": 7}) == {spec.amount: before[a] - 2}
    assert world.records[b][spec.amount] == before[b] + 7
    perform(spec, world, "set_state", {"id": b, "value": spec.states[1]})
    perform(spec, world, "set_flag", {"id": b, "value": True})
    assert (world.records[b][spec.state], world.records[b][spec.flag]) == (spec.states[1], True)
    made = perform(spec, world, "create", {"name": "Zoe", "value": 12})["id"]
    assert perform(spec, world, "get", {"id": made})["name"] == "Zoe"
    assert perform(spec, world, "delete", {"id": made}) == "done"
    assert start == build(spec, 5)  # rows are replaced, never changed
    for operation, given_, message in (
        ("get", {"id": made}, "there is no"),
        ("find", {"name": "Zoe"}, "Zoe has no"),
        ("move", {"id": a, "to": a, "by": 1}, "the same"),
        ("move", {"id": a, "to": b, "by": 10_000}, f"its {spec.amount} is"),
        ("move", {"id": a, "to": b, "by": -1}, f"its {spec.amount} is"),
        ("create", {"name": world.records[a]["name"], "value": 1}, "already"),
    ):
        kept = world.copy()
        with pytest.raises(ToolError, match=message):
            perform(spec, world, operation, given_)
        assert world == kept
    perform(spec, world, "create", {"name": "Yan", "value": 1})
    with pytest.raises(ToolError, match="no room"):
        perform(spec, world, "create", {"name": "Xia", "value": 1})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_amounts_are_moved_and_never_made(data: st.DataObject) -> None:
    spec = api(data.draw(st.integers(0, 31)))
    world = build(spec, data.draw(st.integers(0, 2**32 - 1)))
    total = sum(r[spec.amount] for r in world.records.values())
    for _ in range(data.draw(st.integers(1, 6))):
        one, other = (data.draw(st.sampled_from(sorted(world.records))) for _ in range(2))
        try:
            perform(spec, world, "move", {"id": one, "to": other, "by": data.draw(st.integers(-5, 200))})
        except ToolError:
            continue
        assert all(r[spec.amount] >= 0 for r in world.records.values())
    assert sum(r[spec.amount] for r in world.records.values()) == total


def test_a_read_needs_the_record_the_right_value_and_no_other_state() -> None:
    env = Synth()
    spec, world = api(0), build(api(0), 5)
    (a, b, *_) = world.records
    task = task_of(env, Wish("read", a, field="state"))
    right, wrong = world.records[a][spec.state], next(s for s in spec.states if s != world.records[a][spec.state])
    for actions, solved in (
        ([("get", a), f"It is {right}."], True),
        ([("get", a), f"It is {wrong}."], False),
        ([("get", a), f"It is {right} or {wrong}."], False),
        ([f"It is {right}."], False),  # a guess
        ([("get", b), f"It is {right}."], False),
        ([("get", a), f"It is {right}. I cannot say more."], False),
        ([("get", a), "x" * 300 + f" {right}."], False),
    ):
        env.reset(options={"task": task})
        for action in actions:
            info = env.step(action if isinstance(action, str) else gold_call(env, "get", id=action[1]))[-1]
        assert info["success"] is solved, actions
    env.close()


def test_a_value_that_was_not_said_is_got_by_asking() -> None:
    env = Synth()
    spec = api(0)
    (a, *_) = build(spec, 5).records
    user = {"opening": "Raise it.", "lines": [{"text": "17.", "on": [spec.amount]}], "default": "I have told you all I know."}
    task = task_of(env, Wish("add", a, value=17, unsaid=True), user=user)
    env.reset(options={"task": task})
    assert env.oracle().content == f"What {spec.amount} do you mean?"
    assert env.step("What colour?")[0].messages == (Message("user", "I have told you all I know."),)
    observation, *_ = env.step(env.oracle())
    assert observation.messages == (Message("user", "17."),)
    assert solve_rest(env)
    env.close()


def solve_rest(env: Synth) -> bool:
    while True:
        *_, terminated, truncated, info = env.step(env.oracle())
        if terminated or truncated:
            return bool(info["success"])


def test_busy_tools_work_when_tried_again_and_noise_is_the_same_each_time() -> None:
    env = Synth()
    (a, *_) = build(api(0), 5).records
    task = task_of(env, Wish("read", a, field="amount"), faults={"get": 2}, noise=True)
    for _ in range(2):
        env.reset(options={"task": task})
        for _ in range(2):
            observation, *_, info = env.step(env.oracle())
            assert info["errors"] == (ErrorCategory.TOOL_ERROR,)
            assert observation.messages[0].content == "Error: busy, try again"
        shown = msgspec.json.decode(env.step(env.oracle())[0].messages[0].content)
        assert {"trace", "cached", "name"} < shown.keys()
        assert solve_rest(env)
    env.close()


def test_tools_are_typed_and_named_by_their_api() -> None:
    env = Synth("hard")
    names = set()
    for task in env.tasks()[:60]:
        observation, _ = env.reset(options={"task": task})
        spec = api(task.data["api"])
        for shown in (t["function"] for t in observation.tools):
            names.add(shown["name"])
            assert shown["description"]
            assert set(shown["parameters"].get("required", ())) == set(shown["parameters"]["properties"])
        by_name = {t["function"]["name"]: t["function"]["parameters"]["properties"] for t in observation.tools}
        if "set_state" in spec.operations:
            parameter = words(spec.number, task.data["renaming"]).parameters["set_state"]["value"]
            assert by_name[env.words.tools["set_state"]][parameter]["enum"] == list(spec.states)
    assert len(names) > 100
    env.close()


def test_the_same_api_under_other_words() -> None:
    for number in range(32):
        assert len(api(number).missing) == GAPS
        named = [words(number, r) for r in range(4)]
        assert len({str(n.tools) for n in named}) > 1
        for n in named:
            assert len(set(n.tools.values())) == len(n.tools)
            assert all(len(set(n.parameters[o].values())) == len(TAKES[o]) for o in TAKES)


def test_distractors_know_nothing_and_missing_tools_do_not_exist() -> None:
    env = Synth()
    task = task_of(env, Wish(api(0).missing[0], next(iter(build(api(0), 5).records)), value=50), distractors=2)
    observation, _ = env.reset(options={"task": task})
    assert len(observation.tools) == len(api(0).operations) + 2
    for other in ("other_get", "other_find"):
        shown = next(t["function"] for t in observation.tools if t["function"]["name"] == env.words.tools[other])
        arguments = dict.fromkeys(shown["parameters"]["properties"], "x")
        observation2, *_, info = env.step(assistant("", call(shown["name"], **arguments)))
        assert "there is no such" in observation2.messages[0].content
        assert info["errors"] == (ErrorCategory.TOOL_ERROR,)
    assert env.step("I cannot do that.")[-1]["success"]
    env.close()


def test_goals_are_what_the_wishes_lead_to() -> None:
    spec = api(0)
    world = build(spec, 5)
    a, b, *_ = world.records
    wanted, facts = goal(spec, world, [Wish("read", a, field="amount"), Wish("move", a, b, value=3)])
    assert facts == [str(world.records[a][spec.amount])]
    if calling("move") in spec.operations:
        assert wanted.records[b][spec.amount] == world.records[b][spec.amount] + 3
    assert isinstance(wanted, World)


def test_any_sampler_can_be_the_user_and_levels_are_checked() -> None:
    env = Synth(user=Scripted(lambda _: "I want nothing.###STOP###" if len(_.messages) > 3 else "Hello."))
    observation, _ = env.reset(options={"task": env.tasks()[0]})
    assert observation.messages[-1].content == "Hello."
    env.close()
    with pytest.raises(UserError, match="there is no level 'x'"):
        make("tools/Synth-v0", level="x")
