"""The environment's contract: Gymnasium's meaning of a step, mistakes as data, states that come back."""

import random
import subprocess
import sys
from typing import Any

import gymnasium
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agentgym
from agentgym import (
    Environment,
    EnvironmentFailure,
    ErrorCategory,
    Message,
    Observation,
    Rubric,
    Task,
    Tasks,
    ToolCall,
    ToolError,
    UserError,
    assistant,
    call,
    procedural,
    system,
    tool,
    user,
)


class Counter(Environment):
    """Count up with a tool, then say the number; dice for randomness."""

    instructions = "Count."
    max_turns = 6
    max_calls = 3
    rubric = Rubric(right=1.0, near=0.0)

    def tasks(self, split: str = "train") -> Tasks:
        return procedural(lambda rng: Task(f"Count to {(n := rng.randrange(1000))}", {"to": n}), split)

    def begin(self, task: Task) -> str:
        self.state = {"n": 0, "seen": set()}
        return task.prompt

    @tool
    def count(self, by: int = 1) -> str:
        """Count on."""
        if by > 1000:
            raise ToolError("too far")
        self.state["n"] += by
        return str(self.state["n"])

    @tool
    def dice(self) -> str:
        """Throw a die."""
        return str(self.np_random.integers(6))

    @tool
    def give_up(self) -> str:
        """End it."""
        self.end("I give up")
        return "as you like"

    def reply(self, message: Message) -> str | None:
        return "And?" if message.content == "hm" else None

    def shape(self) -> dict[str, float]:
        return {"near": 0.5}

    def score(self, answer: str) -> dict[str, float]:
        return {"right": float(answer == str(self.task.data["to"]) == str(self.state["n"]))}


@pytest.fixture
def env() -> Counter:
    return Counter()


def test_an_episode(env: Counter) -> None:
    task = env.tasks("test")[3]
    observation, info = env.reset(seed=1, options={"task": "test-3"})
    assert observation.messages == (system("Count."), user(task.prompt))
    assert [t["function"]["name"] for t in observation.tools] == ["count", "dice", "give_up"]
    assert info == {"task": "test-3"}
    observation, reward, terminated, truncated, info = env.step(assistant("", call("count", by=task.data["to"])))
    assert observation.messages == (Message("tool", str(task.data["to"]), (), "call00000", "count"),)
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info == {"task": "test-3", "rewards": {"near": 0.5}, "errors": ()}
    assert env.step("hm")[0].messages == (user("And?"),)
    observation, reward, terminated, truncated, info = env.step(str(task.data["to"]))
    assert (observation.messages, reward, terminated, truncated, info["success"]) == ((), 1.0, True, False, True)
    assert info["rewards"] == {"near": 0.5, "right": 1.0}
    with pytest.raises(UserError, match="call reset"):
        env.step("more")


def test_an_episode_that_runs_out_is_truncated_and_not_scored(env: Counter) -> None:
    env.reset(options={"task": "train-0"})
    steps = [env.step("hm") for _ in range(6)]
    assert [s[3] for s in steps] == [False] * 5 + [True]
    assert not any(s[2] for s in steps)
    assert steps[-1][4]["success"] is False
    assert "right" not in steps[-1][4]["rewards"]


def test_a_tool_may_end_the_episode(env: Counter) -> None:
    env.reset(options={"task": "train-0"})
    observation, reward, terminated, _, info = env.step(assistant("", call("give_up")))
    assert terminated
    assert observation.messages[0].content == "as you like"
    assert (reward, info["success"]) == (0.0, False)


def test_parallel_calls_are_answered_in_order_up_to_a_cap(env: Counter) -> None:
    env.reset(options={"task": "train-0"})
    observation, *_, info = env.step(assistant("", *(call("count") for _ in range(5))))
    assert [m.content for m in observation.messages[:3]] == ["1", "2", "3"]
    assert [m.tool_call_id for m in observation.messages] == [f"call0000{i}" for i in range(5)]
    assert info["errors"] == (ErrorCategory.TOO_MANY_CALLS,) * 2
    assert env.state["n"] == 3


def test_malformed_text_is_answered(env: Counter) -> None:
    env.dialect = agentgym.env.HERMES.__class__()
    env.reset(options={"task": "train-0"})
    observation, *_, info = env.step(Message("assistant", "?", malformed="write clearly"))
    assert observation.messages == (user("Error: write clearly"),)
    assert info["errors"] == (ErrorCategory.BAD_FORMAT,)


def test_what_is_no_action_at_all_is_answered_too(env: Counter) -> None:
    env.reset(options={"task": "train-0"})
    for wrong, named in ((user("x"), "a user's message"), (3, "int"), (None, "NoneType"), (b"x", "bytes")):
        observation, *_, info = env.step(wrong)  # type: ignore[arg-type]
        assert observation.messages[0].content.endswith(named)
        assert info["errors"] == (ErrorCategory.BAD_FORMAT,)


def test_tasks_are_chosen_by_id_split_or_chance(env: Counter) -> None:
    first = [env.reset(seed=7)[1]["task"], env.reset()[1]["task"]]
    second = [env.reset(seed=7)[1]["task"], env.reset()[1]["task"]]
    assert first == second
    assert first[0] != first[1]
    assert env.reset(seed=3, options={"split": "validation"})[1]["task"].startswith("validation-")
    with pytest.raises(UserError, match="no option 'tsk'"):
        env.reset(options={"tsk": "train-0"})
    for task in ("train-x", "nowhere-3", "7", "train-" + "9" * 5000):
        with pytest.raises(UserError, match="there is no task"):
            env.reset(options={"task": task})
    with pytest.raises(UserError, match="no split 'dev'"):
        env.reset(options={"split": "dev"})


def test_finite_tasks_are_found_by_any_id() -> None:
    class Listed(Counter):
        def tasks(self, split: str = "train") -> Tasks:
            return Tasks.of(
                [Task("a", {"to": 1}, id="humaneval/7", split=split)] if split == "test" else [Task("b", {"to": 2}, split=split)]
            )

    env = Listed()
    assert env.reset(options={"task": "humaneval/7"})[1]["task"] == "humaneval/7"
    assert env.reset(options={"task": "train-0"})[1]["task"] == "train-0"
    with pytest.raises(UserError, match="there is no task 'x'"):
        env.reset(options={"task": "x"})


def test_empty_splits_say_so() -> None:
    class Empty(Counter):
        def tasks(self, split: str = "train") -> Tasks:
            return Tasks.of([])

    with pytest.raises(UserError, match="has no tasks"):
        Empty().reset()


def test_snapshots_return_to_a_state_with_its_chance(env: Counter) -> None:
    env.reset(seed=5, options={"task": "train-1"})
    env.step(assistant("", call("count", by=3)))
    before_dice = env.snapshot()
    rolls = [env.step(assistant("", call("dice")))[0].messages[0].content for _ in range(3)]
    snapshot = env.snapshot()
    env.step(assistant("", call("count", by=4)))
    assert env.state["n"] == 7
    for one in (env, Counter()):
        one.restore(snapshot)
        assert (one.state["n"], one.turn, one.task.id) == (3, 4, "train-1")
        assert one.state_key() == snapshot.key
        one.restore(before_dice)
        assert [one.step(assistant("", call("dice")))[0].messages[0].content for _ in range(3)] == rolls
    assert snapshot.state == {"n": 3, "seen": set()}


def test_unseeded_chance_comes_back_too(env: Counter) -> None:
    env.reset(options={"task": "train-1"})
    snapshot = env.snapshot()
    rolls = [
        [env.step(assistant("", call("dice")))[0].messages[0].content for _ in range(4)]
        for _ in (1, 2)
        if not env.restore(snapshot)
    ]
    assert rolls[0] == rolls[1]


def test_a_state_that_does_not_come_back_is_a_failure(env: Counter) -> None:
    class Leaky(Counter):
        def copy_state(self, state: Any) -> Any:
            return state  # shares what it should copy

    leaky = Leaky()
    leaky.reset(options={"task": "train-1"})
    snapshot = leaky.snapshot()
    leaky.step(assistant("", call("count")))
    with pytest.raises(EnvironmentFailure, match="came back as state"):
        leaky.restore(snapshot)


def test_a_state_that_cannot_be_hashed_says_what_to_do(env: Counter) -> None:
    env.reset(options={"task": "train-1"})
    env.state = object()
    with pytest.raises(UserError, match="override state_key"):
        env.state_key()


def test_gymnasium_makes_and_wraps_it() -> None:
    agentgym.register("test/Counter-v0", Counter)
    agentgym.register("test/Counter-v0", Counter)  # a notebook's cell run twice
    made = gymnasium.make("test/Counter-v0")
    wrapped = gymnasium.wrappers.TimeLimit(made, 2)
    wrapped.reset(seed=1)
    assert not wrapped.step("hm")[3]
    assert wrapped.step("hm")[3]
    assert made.action_space.contains(made.action_space.sample())
    assert made.observation_space.contains(made.reset()[0])
    assert made.observation_space.contains(made.observation_space.sample())
    assert not made.observation_space.contains(Observation((assistant("x"),)))
    assert not made.action_space.contains(user("x"))
    assert not made.action_space.is_np_flattenable
    assert not made.observation_space.is_np_flattenable
    assert isinstance(agentgym.make("test/Counter-v0"), Counter)


def test_the_registry_speaks_clearly() -> None:
    agentgym.register("test/Counter-v0", Counter)
    with pytest.raises(UserError, match="did you mean 'test/Counter-v0'"):
        agentgym.make("test/Counte-v0")
    with pytest.raises(UserError, match="does not take these arguments"):
        agentgym.make("test/Counter-v0", colour="red")
    with pytest.raises(UserError, match="namespace/Name-v0"):
        agentgym.register("no good id!", Counter)
    assert "test/Counter-v0" in agentgym.specs()
    assert list(agentgym.specs()) == sorted(agentgym.specs())


def test_a_broken_plugin_is_named_and_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        value = "broken_package:register"

        def load(self) -> Any:
            raise ImportError("no module named nothing")

    monkeypatch.setattr(agentgym.registry, "_loaded", False)
    monkeypatch.setattr(agentgym.registry, "entry_points", lambda group: [Point()])
    with pytest.warns(UserWarning, match=r"broken_package:register are missing: ImportError"):
        agentgym.specs()


def test_importing_the_core_is_light() -> None:
    """What takes long to import stays out (the time itself, 0.15 s on a quiet machine, is no matter for a test)."""
    program = "import sys, agentgym; print(*sys.modules)"
    modules = set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split())
    assert not modules & {
        "torch",
        "transformers",
        "datasets",
        "pyarrow",
        "matplotlib",
        "peft",
        "trl",
        "vllm",
        "docker",
        "rich",
        "typer",
    }


# ---- hostile actions ------------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["count", "dice", "give_up", "buy", ""]) | st.text(max_size=10)
calls = st.builds(
    ToolCall,
    names,
    st.none() | st.dictionaries(st.sampled_from(["by", "x"]) | st.text(), anything, max_size=3),
    st.text(),
    st.text(),
)
messages = st.builds(
    Message,
    st.just("assistant"),
    st.text(st.characters()),
    st.lists(calls, max_size=6).map(tuple),
    thinking=st.text(),
    malformed=st.sampled_from(["", "bad"]),
)
texts = st.one_of(
    st.text(st.characters()),
    st.tuples(st.sampled_from(["<tool_call>", "<tool_call>{", "</think>"]), st.text(st.characters())).map("".join),
    st.builds(lambda n, a: f'<tool_call>{{"name": "{n}", "arguments": {a}}}</tool_call>', names, anything.map(repr)),
    st.sampled_from(["x" * 2_000_000, "<tool_call>" + "[" * 200_000, '{"a":' * 5000, "\ud800", "\x00", "<tool_call>" * 5000]),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(messages | texts | anything, min_size=1, max_size=5))
def test_no_action_raises_out_of_step(actions: list[Any]) -> None:
    env = Counter()
    env.reset(seed=0, options={"task": "train-0"})
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        assert env.observation_space.contains(observation)
        assert isinstance(reward, float)
        assert set(info["errors"]) <= set(ErrorCategory)
        env.state_key()
        if terminated or truncated:
            break


def test_tasks_are_lazy_sliceable_and_never_shared() -> None:
    made: list[int] = []

    def generate(rng: random.Random) -> Task:
        made.append(1)
        return Task(f"{rng.randrange(40)}", {})

    splits = {s: procedural(generate, s) for s in agentgym.SPLITS}
    assert not made
    assert splits["train"].infinite
    assert not splits["train"][:5].infinite
    content = {s: {t.prompt for t in tasks[:200]} for s, tasks in splits.items()}
    assert not content["train"] & content["test"]
    assert not content["train"] & content["validation"]
    assert not content["test"] & content["validation"]
    assert len(set().union(*content.values())) == 40
    tasks = splits["test"]
    assert [t.id for t in tasks[2:10:3]] == ["test-2", "test-5", "test-8"]
    assert tasks[5:][2] == tasks[7]
    assert {t.split for t in tasks[:9]} == {"test"}
    with pytest.raises(IndexError):
        tasks[:3][3]
    with pytest.raises(UserError, match="no split"):
        procedural(generate, "dev")
    with pytest.raises(UserError, match="too few different tasks"):
        [procedural(lambda rng: Task("always"), s)[0] for s in agentgym.SPLITS]


def test_a_rubric_weighs_and_records() -> None:
    assert Rubric(a=1.0, b=0.5).total({"a": 1.0, "b": 1.0, "c": 9.0}) == 1.5
    assert Rubric().total({"a": 1.0, "b": 0.0}) == 0.5
    assert Rubric().total({}) == 0.0
