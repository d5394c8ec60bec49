"""Each way of breaking a promise is found by the check that is meant for it, and by no other."""

import itertools
import random

import numpy as np
import pytest

from agentgym import Environment, EnvironmentFailure, Task, Tasks, UserError, assistant, call, procedural, tool
from agentgym.checks import CHECKS, Check, Validation, check_env, validate_env
from agentgym.spaces import Observation


def make_task(rng):
    a, b = rng.randint(0, 999), rng.randint(0, 999)
    return Task(f"What is {a} + {b}?", {"a": a, "b": b})


class Adder(Environment):
    """Add two numbers."""

    max_turns = 6

    def tasks(self, split="train"):
        return procedural(make_task, split)

    def begin(self, task):
        self.state = {"sums": []}
        return task.prompt

    @tool
    def add(self, a: int, b: int) -> str:
        """Add two integers."""
        self.state["sums"].append(a + b)
        return str(a + b)

    def score(self, answer):
        return {"correct": float(answer == str(self.task.data["a"] + self.task.data["b"]))}

    def oracle(self):
        a, b = self.task.data["a"], self.task.data["b"]
        return assistant(str(a + b)) if a + b in self.state["sums"] else assistant("", call("add", a=a, b=b))


class Talker(Environment):
    """Say yes; everything else is talk. No tools, no oracle, finite splits, random replies, the agent's words in the state."""

    max_turns = 4

    def tasks(self, split="train"):
        if split not in ("train", "validation", "test"):
            raise UserError("no such split")
        return Tasks.of(Task(f"Say yes to {split} {i}.", {}, split=split) for i in range(5))

    def begin(self, task):
        self.state = []
        return task.prompt

    def reply(self, message):
        self.state.append(message.content)
        return None if message.content in ("yes", "") else f"Hm {self.np_random.integers(1000)}."

    def score(self, answer):
        return {"yes": float(answer == "yes")}


@pytest.mark.parametrize("env", [Adder, Talker])
def test_a_sound_environment_passes(env):
    assert check_env(env) == [
        Check("an instance can be made", True),
        *(Check(c.__name__.replace("_", " "), True) for c in CHECKS),
    ]


# ---- broken in one way each ----------------------------------------------------------------------------------------------


class Unmade(Adder):
    """."""

    def __init__(self):
        raise RuntimeError("no display")


class Undocumented(Adder):
    pass


class Eager(Adder):
    """."""

    def tasks(self, split="train"):
        return list(super().tasks(split)[:300])


class Unstable(Adder):
    """."""

    count = itertools.count()

    def __init__(self):
        self.offset = next(self.count)

    def tasks(self, split="train"):
        tasks = super().tasks(split)
        return Tasks(lambda i: Task(f"{tasks[i].prompt} {self.offset}", tasks[i].data, f"{split}-{i}", split), range(1000))


class SameIds(Adder):
    """."""

    def tasks(self, split="train"):
        tasks = super().tasks(split)
        rename = lambda i: Task(tasks[i].prompt, tasks[i].data, f"{split}-{i % 100}", split)  # noqa: E731
        return Tasks(rename, range(1000))


class Unfindable(Adder):
    """."""

    def find_task(self, task_id):
        raise KeyError(task_id)


class Overlapping(Adder):
    """."""

    def tasks(self, split="train"):
        if split != "test":
            return super().tasks(split)
        train = super().tasks("train")
        return Tasks(lambda i: Task(train[i].prompt, train[i].data, f"test-{i}", "test"), range(1000))


class AnySplit(Adder):
    """."""

    def tasks(self, split="train"):
        return super().tasks(split if split in ("train", "validation", "test") else "train")


class Mute(Adder):
    """."""

    def begin(self, task):
        super().begin(task)
        return ()


class Untyped(Adder):
    """."""

    @tool
    def nothing(self) -> str:
        return ""


class Entropy(Adder):
    """."""

    def begin(self, task):
        super().begin(task)
        self.state["luck"] = random.SystemRandom().random()
        return task.prompt


class Remembering(Adder):
    """."""

    def begin(self, task):
        if self.state is None:
            super().begin(task)
        return task.prompt


class LeakingSnapshot(Adder):
    """."""

    def copy_state(self, state):
        return state


class HiddenState(Adder):
    """."""

    def begin(self, task):
        self.steps = 0
        return super().begin(task)

    def shape(self):
        self.steps += 1
        return {"late": float(self.steps > 2)}


class BoundToInstance(Adder):
    """."""

    def reset(self, **kwargs):
        opened = super().reset(**kwargs)
        self.world = self.task.prompt
        return opened

    def shape(self):
        return {"here": float(self.world == self.task.prompt)}


class Fragile(Adder):
    """."""

    def score(self, answer):
        if len(answer) > 1000:
            raise EnvironmentFailure("the judge choked")
        return super().score(answer)


class NotANumber(Adder):
    """."""

    def score(self, answer):
        return {"correct": super().score(answer)["correct"] if answer.strip() else float("nan")}


class NoEnd(Adder):
    """."""

    def step(self, action):
        self._ended = False
        return super().step(action)


class Endless(Adder):
    """."""

    max_turns = 1000

    def tasks(self, split="train"):
        self.max_turns = 6
        return super().tasks(split)

    def reset(self, **kwargs):
        opened = super().reset(**kwargs)
        self.max_turns = 6
        return opened

    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        self._ended = terminated
        return observation, reward, terminated, False, info


class GlobalRandom(Adder):
    """."""

    def begin(self, task):
        random.seed(task.id)
        return super().begin(task)


class GlobalNumpy(Adder):
    """."""

    @tool
    def add(self, a: int, b: int) -> str:
        """Add two integers."""
        np.random.seed(0)
        self.state["sums"].append(a + b)
        return str(a + b)


class LyingOracle(Adder):
    """."""

    def oracle(self):
        return assistant("42") if self.task.split == "test" else super().oracle()


BROKEN = {
    Unmade: "an instance can be made",
    Undocumented: "the class has a docstring",
    Unstable: "tasks are stable",
    SameIds: "task ids are unique",
    Unfindable: "tasks are found by id",
    Overlapping: "splits are disjoint",
    AnySplit: "unknown splits are refused",
    Mute: "reset opens an episode",
    Untyped: "tools are described",
    Entropy: "episodes are deterministic",
    Remembering: "episodes are deterministic",
    LeakingSnapshot: "snapshots can be restored",
    HiddenState: "snapshots can be restored",
    BoundToInstance: "snapshots can be restored",
    Fragile: "hostile actions are answered",
    NotANumber: "hostile actions are answered",
    NoEnd: "steps outside an episode are refused",
    Endless: "episodes end within max turns",
    GlobalRandom: "global random state is untouched",
    GlobalNumpy: "global random state is untouched",
    LyingOracle: "the oracle solves every task",
}


@pytest.mark.parametrize("env", BROKEN, ids=lambda cls: cls.__name__)
def test_each_broken_promise_is_found(env):
    failed = [c for c in check_env(env, tasks=4) if not c.ok]
    assert [c.name for c in failed] == [BROKEN[env]]
    assert failed[0].detail.startswith("expected")


def test_a_list_of_tasks_is_not_lazy():
    failed = {c.name: c.detail for c in check_env(Eager, tasks=2) if not c.ok}
    assert failed["tasks are lazy and sliceable"] == "expected tasks('train') to be a Tasks, got list"


def test_a_score_of_another_name_is_told():
    class Misspelt(Environment):
        """."""

        tasks = Adder.tasks

        def scores(self, answer):
            return {"correct": 1.0}

        def oracle(self):
            return assistant("42")

    failed = {c.name: c.detail for c in check_env(Misspelt, tasks=2) if not c.ok}
    assert failed["the oracle solves every task"].endswith("ended without info['success']: it has no method `score`")


def test_schemas_without_types_are_found():
    class Loose(Adder):
        """."""

        def reset(self, **kwargs):
            observation, info = super().reset(**kwargs)
            schema = {"name": "add", "description": "x", "parameters": {"type": "object", "properties": {"a": {}}}}
            return Observation(observation.messages, ({"type": "function", "function": schema},)), info

    details = {c.name: c.detail for c in check_env(Loose, tasks=2)}
    assert details["tools are described"] == "expected parameter 'a' of tool 'add' to have a type, its schema is {}"


def test_an_unknown_environment_is_a_failed_check():
    (check,) = check_env("nobody/Nothing-v0")
    assert not check.ok
    assert "there is no environment" in check.detail


def test_what_is_no_environment_is_a_failed_check():
    class Other:
        def close(self):
            pass

    (check,) = check_env(Other)
    assert check.detail == "expected an agentgym.Environment, got Other"


def test_the_global_generators_keep_their_state():
    before = random.getstate()
    check_env(Adder, tasks=2)
    assert random.getstate() == before


class Slow(Adder):
    """Every episode takes a second of a clock of its own."""

    clock = 0.0

    def begin(self, task):
        Slow.clock += 1.0
        return super().begin(task)


def test_slow_environments_are_tried_on_fewer_tasks(monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: Slow.clock)
    began = Slow.clock
    assert all(check.ok for check in check_env(Slow, tasks=100))
    assert 10 < Slow.clock - began < 100  # each check on one task of each split, not on a hundred
    assert validate_env(Slow(), seconds=9.0).tasks == 5  # gold and nothing: two seconds a task
    assert validate_env(Slow(), seconds=0.0).tasks == 1


# ---- validation ----------------------------------------------------------------------------------------------------------


def test_sound_tasks_validate():
    result = validate_env(Adder(), limit=20)
    assert result == Validation(tasks=20, gold_passed=20, floor_passed=0, has_oracle=True, floor=0.0)
    assert result.problem == ""


def test_a_finite_split_is_validated_whole_and_without_an_oracle():
    result = validate_env(Talker(), "test", limit=None)
    assert result == Validation(tasks=5, gold_passed=0, floor_passed=0, has_oracle=False, floor=0.0)
    assert result.problem == ""


def test_a_failing_oracle_is_a_problem():
    result = validate_env(LyingOracle(), "test", limit=5)
    assert result.gold_passed == 0
    assert result.gold_failed == ("test-0", "test-1", "test-2", "test-3", "test-4")
    assert result.problem == f"expected the oracle to solve all 5 tasks, it solved 0, not {', '.join(result.gold_failed)}"
    many = Validation(20, 0, 0, True, 0.0, tuple(map(str, range(20)))).problem
    assert many.endswith("it solved 0, not 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...")


def test_doing_nothing_must_not_pay():
    class Generous(Adder):
        def score(self, answer):
            return {"correct": 1.0}

    assert validate_env(Generous(), limit=10).problem == "expected doing nothing to solve 0.0% of the tasks, it solved 10 of 10"


def test_the_floor_has_a_tolerance_of_three_sigma():
    counts = {n: Validation(100, 100, n, True, 0.25).problem == "" for n in (0, 25, 37, 38, 39, 50)}
    assert counts == {0: True, 25: True, 37: True, 38: False, 39: False, 50: False}


@pytest.mark.parametrize(("env", "split", "limit"), [(Adder, "train", None), (Adder, "nope", 5), (Talker, "train", 0)])
def test_impossible_requests_are_user_errors(env, split, limit):
    with pytest.raises(UserError):
        validate_env(env(), split, limit)
