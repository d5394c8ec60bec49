"""``games/FrozenLake-v0``: cross a frozen lake, another one in each task."""

import random
from typing import Any

from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv, generate_random_map

from agentgym import Message, Task, assistant, call

from .tables import best_actions
from .text import TextGame

LEVELS = {4: "easy", 5: "medium", 6: "hard"}  # by rows
_ENDS = {"G": " You are at the goal.", "H": " You fell into a hole."}


class FrozenLake(TextGame):
    """Cross a frozen lake of 4 to 6 rows to its goal without falling into a hole.

    Args:
        slippery: Two moves of three go to one of the sides instead. There is no oracle then: no policy always wins.
    """

    game = FrozenLakeEnv
    actions = ("left", "down", "right", "up")
    changing = ("s",)
    max_turns = 30
    inner: FrozenLakeEnv

    def __init__(self, slippery: bool = False) -> None:
        super().__init__()
        self.slippery = slippery
        if slippery:
            self.max_turns = 100

    def make_task(self, rng: random.Random) -> Task:
        """A random lake with a way across; the task holds the map, so that no two splits share one."""
        size = rng.choice(list(LEVELS))
        goal = "Walk over the ice to G. H is a hole, @ is you."
        return Task(goal, {"map": generate_random_map(size, 0.75, rng.getrandbits(31))}, difficulty=LEVELS[size])

    def start(self, task: Task) -> Any:
        """On the first field of the task's lake."""
        self.rows: list[str] = task.data["map"]
        self.inner = FrozenLakeEnv(desc=self.rows, is_slippery=self.slippery)
        self.best: dict[int, int] | None = None
        return self.inner.reset(seed=0)[0]

    def describe(self, observation: Any) -> str:
        """The map with the player on it, and where that is."""
        row, column = divmod(int(observation), len(self.rows))
        line = self.rows[row]
        shown = [*self.rows[:row], f"{line[:column]}@{line[column + 1 :]}", *self.rows[row + 1 :]]
        return "\n".join([*shown, f"Row {row + 1}, column {column + 1}.{_ENDS.get(line[column], '')}"])

    def oracle(self) -> Message | None:
        """A shortest way to the goal; None on slippery ice."""
        if self.slippery:
            return None
        if self.best is None:
            self.best = best_actions(self.inner.P)
        action = self.best.get(self.state["s"])
        return None if action is None else assistant("", call("act", action=self.actions[action]))
