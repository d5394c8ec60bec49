"""``games/Taxi-v0``: fetch a passenger and bring them to where they want to go."""

import random
from typing import Any

from gymnasium.envs.toy_text.taxi import MAP, TaxiEnv

from agentgym import Message, Task, assistant, call

from .tables import best_actions
from .text import TextGame

STANDS = ("red", "green", "yellow", "blue")


class Taxi(TextGame):
    """Drive a taxi through a town with walls: fetch the passenger, bring them to their destination.

    The reward is Gymnasium's: -1 a move, -10 for a wrong pickup or dropoff, +20 at the end. Solved means delivered in time.
    """

    game = TaxiEnv
    actions = ("south", "north", "east", "west", "pickup", "dropoff")
    changing = ("s",)
    max_turns = 40
    inner: TaxiEnv
    best: dict[int, int] | None = None

    def __init__(self) -> None:
        super().__init__()

    def make_task(self, rng: random.Random) -> Task:
        """One of the 300 starts: anywhere, with the passenger at one stand and their destination another one."""
        passenger, destination = rng.sample(range(4), 2)
        start = self.inner.encode(rng.randrange(5), rng.randrange(5), passenger, destination)  # type: ignore[no-untyped-call]
        town = "\n".join(MAP)
        return Task(f"Fetch the passenger and bring them to their destination. | is a wall.\n{town}", {"start": start})

    def start(self, task: Task) -> Any:
        """At the task's start."""
        self.inner.reset(seed=0)
        self.inner.s = task.data["start"]
        return self.inner.s

    def describe(self, observation: Any) -> str:
        """Where the taxi, the passenger and the destination are."""
        row, column, passenger, destination = self.inner.decode(int(observation))
        waiting = "in the taxi" if passenger == len(STANDS) else f"at {self._stand(passenger)}"
        return (
            f"The taxi is in row {row + 1}, column {column + 1}. The passenger is {waiting}. "
            f"The destination is {self._stand(destination)}."
        )

    def oracle(self) -> Message | None:
        """A shortest way to deliver the passenger."""
        if self.best is None:
            self.best = best_actions(self.inner.P)
        action = self.best.get(self.state["s"])
        return None if action is None else assistant("", call("act", action=self.actions[action]))

    def _stand(self, number: int) -> str:
        row, column = self.inner.locs[number]
        return f"{STANDS[number]} (row {row + 1}, column {column + 1})"
