"""Does an environment keep the promises of `agentgym.env`? Conformance as library code, like Gymnasium's checker.

`check_env` tries every promise on fresh instances and reports; `validate_env` measures whether its tasks are sound. A new
environment is tested by::

    def test_conformance():
        assert not [check for check in check_env("shop/Search-v0") if not check.ok]
"""

import inspect
import math
import pickle
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import msgspec
import numpy as np

from agentgym.env import Action, Environment, StepResult
from agentgym.errors import UserError
from agentgym.fuzz import hostile_calls, hostile_texts, random_action
from agentgym.messages import ToolCall, assistant
from agentgym.registry import make
from agentgym.spaces import Observation
from agentgym.tasks import SPLITS, Task, Tasks
from agentgym.tools import to_json
from agentgym.validation import Validation, has_oracle, succeeds, validate_env

__all__ = ["CHECKS", "Check", "Validation", "check_env", "validate_env"]

_SPLIT_SAMPLE = 200  # tasks of each split that are compared with those of the others
_MAX_STEPS = 40  # steps of an episode that are compared
_SECONDS = 0.5  # of a check's episodes: after that it begins none with another task
_PARTS = ("observation", "reward", "terminated", "truncated", "info")


class Check(msgspec.Struct, frozen=True):
    """One promise: whether it is kept, and if not, what was expected and what came."""

    name: str
    ok: bool
    detail: str = ""


def check_env(env: str | Callable[..., Environment], *, tasks: int = 8, seed: int = 0, **kwargs: Any) -> list[Check]:
    """Try every promise. Nothing raises: what is broken is a failed `Check`.

    Args:
        env: The environment's id, or its class (or any function that makes one).
        tasks: How many tasks of each split are played; fewer where episodes are slow.
        seed: Of the resets and of the random actions.
        kwargs: Arguments for the environment.
    """

    def factory() -> Environment:
        return make(env, **kwargs) if isinstance(env, str) else env(**kwargs)

    first = _run(an_instance_can_be_made, factory, tasks, seed)
    return [first, *(_run(check, factory, tasks, seed) for check in CHECKS)] if first.ok else [first]


# ---- how a check is run -----------------------------------------------------------------------------------------------


class _Broken(Exception):
    """A promise is broken; the text says how."""


class _Bench:
    """What a check works on: fresh instances, closed at its end, tasks, seeds and the time that it has."""

    def __init__(self, factory: Callable[[], Environment], stack: ExitStack, count: int, seed: int) -> None:
        self._factory, self._stack, self._count = factory, stack, count
        self._until = time.perf_counter() + _SECONDS
        self.seed = seed
        self.rng = random.Random(seed)

    def new(self) -> Environment:
        return self._stack.enter_context(closing(self._factory()))

    def tasks(self, env: Environment, split: str | None = None) -> Tasks:
        """Tasks of a split; by default of the first that has any: published files may be a test alone."""
        return env.tasks(split or _first_split(env))[: self._count]

    def sample(self, env: Environment, split: str | None = None) -> Iterator[Task]:
        """The same, as many as there is time for; at least one."""
        for i, task in enumerate(self.tasks(env, split)):
            if i and time.perf_counter() > self._until:
                return
            yield task

    def reset(self, env: Environment, task: Task) -> tuple[Observation, dict[str, Any]]:
        return env.reset(seed=self.seed, options={"task": task})

    def act(self, env: Environment, observation: Observation, gold: bool) -> Action:
        """The oracle's next action if `gold` and there is one, otherwise a random one."""
        right = env.oracle() if gold else None
        return random_action(observation.tools, self.rng) if right is None else right


def _first_split(env: Environment) -> str:
    return next((split for split in SPLITS if len(env.tasks(split))), SPLITS[0])


def _run(check: Callable[[_Bench], None], factory: Callable[[], Environment], count: int, seed: int) -> Check:
    name = check.__name__.replace("_", " ")
    try:
        with ExitStack() as stack:
            check(_Bench(factory, stack, count, seed))
    except _Broken as broken:
        return Check(name, False, str(broken))
    except Exception as error:  # whatever an environment raises is a finding about it
        promise = (inspect.getdoc(check) or "").partition("\n")[0]
        return Check(name, False, f"expected: {promise} It raised {_named(error)}")
    return Check(name, True)


def _expect(kept: bool, expectation: str) -> None:
    if not kept:
        raise _Broken(expectation)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _short(action: Action) -> str:
    text = repr(action)
    return text if len(text) <= 120 else f"{text[:120]}... ({len(text)} characters)"


# ---- promises about the class and its tasks ---------------------------------------------------------------------------


def an_instance_can_be_made(bench: _Bench) -> None:
    """The environment can be made and closed."""
    env: Any = bench.new()
    _expect(isinstance(env, Environment), f"expected an agentgym.Environment, got {type(env).__name__}")


def the_class_has_a_docstring(bench: _Bench) -> None:
    """The class says in a docstring what there is to do."""
    cls = type(bench.new())
    _expect(bool((cls.__doc__ or "").strip()), f"expected a docstring of {cls.__name__} that says what there is to do")


def tasks_are_lazy_and_sliceable(bench: _Bench) -> None:
    """`tasks(split)` is a `Tasks`, and a slice of it shows the same tasks."""
    env = bench.new()
    _expect(len(env.tasks(_first_split(env))) > 0, "expected at least one task")
    for split in SPLITS:
        tasks: Any = env.tasks(split)
        _expect(isinstance(tasks, Tasks), f"expected tasks({split!r}) to be a Tasks, got {type(tasks).__name__}")
        some = tasks[:3]
        _expect(isinstance(some, Tasks) and len(some) <= 3, f"expected tasks({split!r})[:3] to be at most 3 Tasks")
        same = all(task == tasks[i] for i, task in enumerate(some))
        _expect(same, f"expected tasks({split!r})[:3] to show the same tasks as tasks({split!r})[0] to [2]")


def tasks_are_stable(bench: _Bench) -> None:
    """The same index is the same task in every instance."""
    one, other = bench.new(), bench.new()
    for split in SPLITS:
        for i, (a, b) in enumerate(zip(bench.tasks(one, split), bench.tasks(other, split), strict=True)):
            _expect(a == b, f"expected {split} task {i} to be the same in two instances, got {a} and {b}")


def task_ids_are_unique(bench: _Bench) -> None:
    """No two tasks of a split share an id, and every task names its split."""
    env = bench.new()
    for split in SPLITS:
        seen: set[str] = set()
        for task in env.tasks(split)[:_SPLIT_SAMPLE]:
            _expect(bool(task.id) and task.id not in seen, f"expected ids that are unique, {split} has {task.id!r} twice")
            _expect(task.split == split, f"expected task {task.id!r} of {split} to say so, it says {task.split!r}")
            seen.add(task.id)


def tasks_are_found_by_id(bench: _Bench) -> None:
    """`find_task(id)` gives the task with this id, and refuses unknown ids with a `UserError`."""
    env = bench.new()
    for split in SPLITS:
        for task in bench.tasks(env, split):
            found = env.find_task(task.id)
            _expect(found == task, f"expected find_task({task.id!r}) to give that task, got {found}")
    _refuses(lambda: env.find_task("no such task"), "find_task of an unknown id")


def splits_are_disjoint(bench: _Bench) -> None:
    """Train, validation and test share no task, neither by id nor by content."""
    env = bench.new()
    owner: dict[str, str] = {}
    for split in SPLITS:
        for task in env.tasks(split)[:_SPLIT_SAMPLE]:
            for key in (f"id {task.id!r}", f"content {to_json((task.prompt, task.data))}"):
                other = owner.setdefault(key, split)
                _expect(other == split, f"expected {other} and {split} to share no task, both have {key[:200]}")


def unknown_splits_are_refused(bench: _Bench) -> None:
    """`tasks` of a split that does not exist raises a `UserError`."""
    env = bench.new()
    _refuses(lambda: env.tasks("no such split"), "tasks('no such split')")


def _refuses(request: Callable[[], object], what: str) -> None:
    try:
        request()
    except UserError:
        return
    except Exception as error:
        raise _Broken(f"expected {what} to raise UserError, it raised {_named(error)}") from error
    raise _Broken(f"expected {what} to raise UserError, it raised nothing")


# ---- promises about an episode ----------------------------------------------------------------------------------------


def reset_opens_an_episode(bench: _Bench) -> None:
    """`reset` gives an opening that is not the agent's, and the task's id."""
    env = bench.new()
    for split in SPLITS:
        for task in bench.sample(env, split):
            observation, info = bench.reset(env, task)
            _expect(observation in env.observation_space, f"expected reset to give an Observation, got {observation!r:.200}")
            _expect(len(observation.messages) > 0, f"expected an opening for task {task.id!r}, got no message")
            _expect(info.get("task") == task.id, f"expected info['task'] to be {task.id!r}, got {info.get('task')!r}")


def tools_are_described(bench: _Bench) -> None:
    """Every tool has a name, a description and a JSON schema of its parameters."""
    env = bench.new()
    for task in bench.sample(env):
        schemas = bench.reset(env, task)[0].tools
        names = [schema.get("function", {}).get("name") for schema in schemas]
        _expect(len(set(names)) == len(names), f"expected tool names that are unique, got {names}")
        for schema in schemas:
            _expect(schema.get("type") == "function", f"expected tools of type 'function', got {schema!r:.200}")
            _check_schema(schema["function"])


def _check_schema(function: dict[str, Any]) -> None:
    name = function.get("name")
    _expect(isinstance(name, str) and bool(name), f"expected a tool's name, got {name!r}")
    _expect(bool(function.get("description")), f"expected a docstring of tool {name!r} that says what it does")
    parameters = function.get("parameters", {})
    properties = parameters.get("properties")
    _expect(
        parameters.get("type") == "object" and isinstance(properties, dict),
        f"expected the parameters of tool {name!r} to be an object with properties, got {parameters!r:.200}",
    )
    for key, value in properties.items():
        typed = isinstance(value, dict) and not value.keys().isdisjoint(("type", "anyOf", "enum", "$ref", "const"))
        _expect(typed, f"expected parameter {key!r} of tool {name!r} to have a type, its schema is {value!r:.200}")
    strangers = set(parameters.get("required", ())) - properties.keys()
    _expect(not strangers, f"expected tool {name!r} to require only parameters that it has, not {sorted(strangers)}")


def episodes_are_deterministic(bench: _Bench) -> None:
    """The same seed, task and actions have the same effects, in a used instance as in a fresh one."""
    used = bench.new()
    for task in bench.sample(used):
        fresh = bench.new()
        for gold in (True, False):
            where = f"two instances with the same seed and actions, task {task.id!r}"
            one, other = bench.reset(used, task), bench.reset(fresh, task)
            _expect(one == other, f"expected the same opening from {where}, got {one!r:.200} and {other!r:.200}")
            _expect(used.state_key() == fresh.state_key(), f"expected the same state_key() after reset in {where}")
            _lockstep(bench, used, fresh, one[0], gold, where)


def _lockstep(bench: _Bench, one: Environment, other: Environment, observation: Observation, gold: bool, where: str) -> None:
    for turn in range(_MAX_STEPS):
        action = bench.act(one, observation, gold)
        result = one.step(action)
        _same(result, other.step(action), f"at step {turn} of {where}")
        _expect(one.state_key() == other.state_key(), f"expected the same state_key() at step {turn} of {where}")
        observation = result[0]
        if result[2] or result[3]:
            return


def _same(a: StepResult, b: StepResult, where: str) -> None:
    for name, x, y in zip(_PARTS, a, b, strict=True):
        _expect(x == y, f"expected the same {name} {where}, got {x!r:.200} and {y!r:.200}")


def snapshots_can_be_restored(bench: _Bench) -> None:
    """From a restored snapshot an episode goes on as before, in the same instance and in another one."""
    env = bench.new()
    first, *others = bench.tasks(env)
    for i, task in enumerate(bench.sample(env)):
        elsewhere = first if i or not others else others[0]
        for gold in (True, False):
            observation = _advance(bench, env, task, gold, steps=i % 3)
            if observation is None:
                observation, _ = bench.reset(env, task)
            _goes_on_the_same(bench, env, observation, gold, elsewhere)


def _advance(bench: _Bench, env: Environment, task: Task, gold: bool, steps: int) -> Observation | None:
    """Start an episode and take some steps; None when it ended."""
    observation, _ = bench.reset(env, task)
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(bench.act(env, observation, gold))
        if terminated or truncated:
            return None
    return observation


def _goes_on_the_same(bench: _Bench, env: Environment, observation: Observation, gold: bool, elsewhere: Task) -> None:
    snapshot, key = env.snapshot(), env.state_key()
    where = f"after restoring a snapshot of task {snapshot.task.id!r}, turn {snapshot.turn}"
    actions, results = [], []
    for _ in range(_MAX_STEPS):
        actions.append(bench.act(env, observation, gold))
        results.append((env.step(actions[-1]), env.state_key()))
        observation, _, terminated, truncated, _ = results[-1][0]
        if terminated or truncated:
            break
    other = bench.new()
    bench.reset(other, elsewhere)
    for instance, place in ((env, "in the same instance"), (other, "in another instance")):
        instance.restore(snapshot)
        _expect(instance.state_key() == key, f"expected the snapshot's state_key() {where} {place}")
        for action, (result, key_after) in zip(actions, results, strict=True):
            _same(result, instance.step(action), f"{where} {place}")
            _expect(instance.state_key() == key_after, f"expected the same state_key() as before {where} {place}")


def hostile_actions_are_answered(bench: _Bench) -> None:
    """Whatever the agent does, `step` answers with an observation that can be kept and a finite reward."""
    env = bench.new()
    for i, task in enumerate(bench.sample(env)):
        observation, _ = bench.reset(env, task)
        ended = False
        for action in (*hostile_texts(), *(hostile_calls(observation.tools) if i == 0 else ())):
            if ended:
                bench.reset(env, task)
            ended = _survives(env, action)


def _survives(env: Environment, action: Action) -> bool:
    """Take one hostile step; True when it ended the episode."""
    try:
        observation, reward, terminated, truncated, _ = env.step(action)
        env.state_key()
        to_json(observation)
    except Exception as error:
        raise _Broken(
            f"expected step({_short(action)}) to give a state and an observation that can be kept, it raised {_named(error)}"
        ) from error
    what = f"from step({_short(action)})"
    _expect(observation in env.observation_space, f"expected an Observation {what}, got {observation!r:.200}")
    _expect(isinstance(reward, float) and math.isfinite(reward), f"expected a finite float as reward {what}, got {reward!r}")
    return terminated or truncated


def steps_outside_an_episode_are_refused(bench: _Bench) -> None:
    """`step` before a reset or after the end raises a `UserError`."""
    env = bench.new()
    _refuses(lambda: env.step("x"), "step before reset")
    for task in bench.tasks(env)[:1]:
        if _ends(bench, env, task, lambda _: assistant("x")):
            _refuses(lambda: env.step("x"), "step after the end of an episode")


def episodes_end_within_max_turns(bench: _Bench) -> None:
    """No agent can make an episode last longer than `max_turns`."""
    env = bench.new()
    agents: dict[str, Callable[[Observation], Action]] = {
        "calls a tool that does not exist": lambda _: assistant("", ToolCall("no_such_tool", {})),
        "says the same again and again": lambda _: assistant("x"),
        "acts at random": lambda observation: random_action(observation.tools, bench.rng),
    }
    for task in bench.sample(env):
        for what, agent in agents.items():
            ended = _ends(bench, env, task, agent)
            _expect(ended, f"expected an end within {env.max_turns} turns of an agent that {what}, task {task.id!r}")


def _ends(bench: _Bench, env: Environment, task: Task, agent: Callable[[Observation], Action]) -> bool:
    observation, _ = bench.reset(env, task)
    for _ in range(env.max_turns):
        observation, _, terminated, truncated, _ = env.step(agent(observation))
        if terminated or truncated:
            return True
    return False


def global_random_state_is_untouched(bench: _Bench) -> None:
    """`reset` and `step` draw from the instance's generator alone."""
    kept = random.getstate(), np.random.get_state()
    try:
        env = bench.new()
        for task in bench.sample(env):
            # A state that nobody chose: an environment that seeds with a constant would not change one of its own making.
            random.seed()
            np.random.seed()
            before = _global_states()
            _play(bench, env, task)
            for module, x, y in zip(("random", "numpy.random"), before, _global_states(), strict=True):
                _expect(x == y, f"expected reset and step to use self.np_random, they changed the state of {module}")
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])


def _global_states() -> tuple[bytes, bytes]:
    return pickle.dumps(random.getstate()), pickle.dumps(np.random.get_state())


def _play(bench: _Bench, env: Environment, task: Task) -> None:
    observation, _ = bench.reset(env, task)
    for _ in range(_MAX_STEPS):
        observation, _, terminated, truncated, _ = env.step(bench.act(env, observation, gold=True))
        if terminated or truncated:
            return


def the_oracle_solves_every_task(bench: _Bench) -> None:
    """The gold policy, where there is one, solves tasks of every split."""
    env = bench.new()
    for split in SPLITS:
        for task in bench.sample(env, split):
            if has_oracle(env, task):
                solved = succeeds(env, task, bench.seed, env.oracle)
                why = "" if type(env).score is not Environment.score else ": it has no method `score`"
                _expect(solved, f"expected the oracle to solve task {task.id!r}, it ended without info['success']{why}")


CHECKS: Sequence[Callable[[_Bench], None]] = (
    the_class_has_a_docstring,
    tasks_are_lazy_and_sliceable,
    tasks_are_stable,
    task_ids_are_unique,
    tasks_are_found_by_id,
    splits_are_disjoint,
    unknown_splits_are_refused,
    reset_opens_an_episode,
    tools_are_described,
    episodes_are_deterministic,
    snapshots_can_be_restored,
    hostile_actions_are_answered,
    steps_outside_an_episode_are_refused,
    episodes_end_within_max_turns,
    global_random_state_is_untouched,
    the_oracle_solves_every_task,
)
