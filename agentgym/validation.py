"""Are an environment's tasks sound? The gold policy solves them all, doing nothing solves no more than the stated floor."""

import math
from collections.abc import Callable

import msgspec

from agentgym.env import Action, Environment
from agentgym.errors import UserError
from agentgym.tasks import Task


class Validation(msgspec.Struct, frozen=True):
    """What `validate_env` counted.

    Attributes:
        tasks: Tasks that were tried.
        gold_passed: Those that the oracle solved; 0 without one.
        floor_passed: Those that doing nothing solved.
        has_oracle: Whether there is a gold policy.
        floor: The share that the environment says doing nothing solves.
    """

    tasks: int
    gold_passed: int
    floor_passed: int
    has_oracle: bool
    floor: float

    @property
    def problem(self) -> str:
        """What is wrong with the tasks; empty when nothing is."""
        if self.has_oracle and self.gold_passed < self.tasks:
            return f"expected the oracle to solve all {self.tasks} tasks, it solved {self.gold_passed}"
        # Three standard deviations of a binomial draw: a true floor exceeds them about once in 700 times.
        allowed = self.tasks * self.floor + 3 * math.sqrt(self.tasks * self.floor * (1 - self.floor))
        if self.floor_passed > allowed:
            return f"expected doing nothing to solve {self.floor:.1%} of the tasks, it solved {self.floor_passed} of {self.tasks}"
        return ""


def validate_env(env: Environment, split: str = "train", limit: int | None = 100, seed: int = 0) -> Validation:
    """Play tasks with the oracle, and with an agent that only ever says nothing.

    Args:
        env: Used for all episodes.
        split: Whose tasks.
        limit: How many of them, from the first on; None for the whole of a finite split.
        seed: Of every reset.

    Raises:
        UserError: no such split, no tasks, or the whole of an endless split.
    """
    tasks = env.tasks(split)
    if limit is None and tasks.infinite:
        raise UserError(f"split {split!r} has no end: give a limit")
    chosen = tasks[:limit]
    if not len(chosen):
        raise UserError(f"split {split!r} has no tasks to validate: choose another one or a higher limit")
    gold = sum(succeeds(env, task, seed, env.oracle) for task in chosen)
    floor = sum(succeeds(env, task, seed, lambda: "") for task in chosen)
    return Validation(len(chosen), gold, floor, has_oracle(env, chosen[0]), env.floor)


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
