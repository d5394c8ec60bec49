"""Are an environment's tasks sound? The gold policy solves them all, doing nothing solves no more than the stated floor."""

import itertools
import math
import time
from collections.abc import Callable

import msgspec

from agentgym.env import Action, Environment
from agentgym.errors import UserError
from agentgym.tasks import SPLITS, Task

NAMED = 10  # tasks that are named in a report


class Validation(msgspec.Struct, frozen=True):
    """What `validate_env` counted.

    Attributes:
        tasks: Tasks that were tried.
        gold_passed: Those that the oracle solved; 0 without one.
        floor_passed: Those that doing nothing solved.
        has_oracle: Whether there is a gold policy.
        floor: The share that the environment says doing nothing solves.
        gold_failed: The ids of those that the oracle did not solve, where there is one.
    """

    tasks: int
    gold_passed: int
    floor_passed: int
    has_oracle: bool
    floor: float
    gold_failed: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """What is wrong with the tasks; empty when nothing is."""
        if self.has_oracle and self.gold_passed < self.tasks:
            named = ", ".join(self.gold_failed[:NAMED]) + (", ..." if len(self.gold_failed) > NAMED else "")
            return f"expected the oracle to solve all {self.tasks} tasks, it solved {self.gold_passed}, not {named}"
        # Three standard deviations of a binomial draw: a true floor exceeds them about once in 700 times.
        allowed = self.tasks * self.floor + 3 * math.sqrt(self.tasks * self.floor * (1 - self.floor))
        if self.floor_passed > allowed:
            return f"expected doing nothing to solve {self.floor:.1%} of the tasks, it solved {self.floor_passed} of {self.tasks}"
        return ""


def validate_env(
    env: Environment, split: str | None = "train", limit: int | None = 100, seed: int = 0, seconds: float = math.inf
) -> Validation:
    """Play tasks with the oracle, and with an agent that only ever says nothing.

    Args:
        env: Used for all episodes.
        split: Whose tasks; None for those of all splits.
        limit: How many of them, from the first on; None for the whole of finite splits.
        seed: Of every reset.
        seconds: After so many no other task is begun.

    Raises:
        UserError: no such split, no tasks, or the whole of an endless split.
    """
    splits = {name: env.tasks(name) for name in (SPLITS if split is None else (split,))}
    for name, tasks in splits.items():
        if limit is None and tasks.infinite:
            raise UserError(f"split {name!r} has no end: give a limit")
    chosen = list(itertools.islice(itertools.chain.from_iterable(splits.values()), limit))
    if not chosen:
        raise UserError(f"there are no tasks to validate in {', '.join(splits)}: choose another split or a higher limit")
    until, played, floor, failed = time.perf_counter() + seconds, 0, 0, list[str]()
    for task in chosen:
        if played and time.perf_counter() > until:
            break
        played += 1
        if not succeeds(env, task, seed, env.oracle):
            failed.append(task.id)
        floor += succeeds(env, task, seed, lambda: "")  # behind a solved episode of the same task, whose traces would show
    gold = has_oracle(env, chosen[0])
    return Validation(played, played - len(failed), floor, gold, env.floor, tuple(failed) if gold else ())


def has_oracle(env: Environment, task: Task) -> bool:
    """Whether there is a gold policy for `task`."""
    env.reset(options={"task": task})
    return env.oracle() is not None


def succeeds(env: Environment, task: Task, seed: int, policy: Callable[[], Action | None]) -> bool:
    """Play one episode; a policy that gives up (None) does not succeed."""
    env.reset(seed=seed, options={"task": task})
    for _ in range(env.max_turns):
        action = policy()
        if action is None:
            return False
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return bool(info.get("success"))
    return False
