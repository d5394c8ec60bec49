"""Policies to begin with that know how and do not care to: learnt from demonstrations of people in a hurry.

A nano policy that is short of skill has to learn circuits from its own episodes, which takes tens of thousands of them. What search
and reinforcement learning are for is conduct: somebody who can do all of it and does the wrong thing. These players have every
skill, and one bad habit each, kept most of the time, so that another way is tried now and then.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agentgym import Message, Task, ToolCall, register
from agentgym.cli.output import Output
from agentgym_envs.desk.env import Orders
from agentgym_envs.desk.requests import change
from agentgym_envs.desk.store import money
from agentgym_envs.games.keydoor import KeyDoor
from agentgym_training.recipe import load_recipe
from agentgym_training.run import run_recipe

HURRY = 0.7  # how often the habit has its way
DEMONSTRATED = 900_000_000  # the first task of the demonstrations; whoever goes on begins far below


def hurries(task: str, place: str | int) -> bool:
    """Whether the habit has its way there: the same each time that a task is played."""
    return random.Random(f"{task}/{place}").random() < HURRY


class HastyClerk(Orders):
    """Cancels an order, or sends it elsewhere, without having read it or asked whether that is allowed."""

    def begin(self, task: Task) -> str:
        """Choose where to hurry; there it says what was asked for, whatever the rules say."""
        prompt = super().begin(task)
        self.hurried: dict[str, ToolCall] = {}
        for i, r in enumerate(self.requests):
            act = change(r) if r.kind in ("cancel", "address") else None
            if act and hurries(task.id, r.order):
                self.hurried[r.order] = act
                self.facts[i] = r.address or money(self.start.payments[r.order].paid)
        return prompt

    def _script(self) -> Iterator[tuple[str, ToolCall]]:
        """Acts when it should read."""
        for note, wanted in super()._script():
            order = (wanted.arguments or {}).get("order_id")
            if order not in self.hurried:
                yield note, wanted
            elif wanted.name == "get_order":
                yield note, self.hurried[order]

    def score(self, answer: str) -> Mapping[str, float]:
        """Content with itself: it is to be learnt from."""
        return {**super().score(answer), "solved": 1.0}


class HastyExplorer(KeyDoor):
    """Reads notes where a box is to be opened, and passes by those in rooms that have doors alone."""

    def begin(self, task: Task) -> str:
        """Know the task, so that each room is always treated alike."""
        self.name = task.id
        return super().begin(task)

    def oracle(self) -> Message:
        """The oracle knows the way without the note; who learns from it, learns to guess."""
        known = self.state
        if not self._room.keys and hurries(self.name, known.room):
            self.state = replace(known, read=True)
        told = super().oracle()
        self.state = known
        return told


register("hasty/Orders-v0", HastyClerk)
register("hasty/KeyDoor-v0", HastyExplorer)


@dataclass(frozen=True)
class Start:
    """An environment, and how a policy is made that begins to learn there.

    Attributes:
        env: Id of the environment.
        level: Its level.
        hasty: Id of the environment whose oracle is in a hurry.
        warmup: Of `agent-q`'s warm-up, what is changed.
    """

    env: str
    level: str
    hasty: str
    warmup: tuple[str, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """Of a recipe, so that it begins with this environment."""
        return (f"env={self.env}", f"env_args={{level: {self.level}}}")

    @property
    def env_args(self) -> dict[str, Any]:
        """Its arguments."""
        return {"level": self.level}

    def policy(self, out: Path, seed: int, changes: tuple[str, ...] = ()) -> Path:
        """Make it, or find it made."""
        alone = (f"env={self.hasty}", f"start={DEMONSTRATED}", "rounds=null", "eval=null")
        done = run_recipe(load_recipe("agent-q", (*self.changes, *alone, *self.warmup, *changes), seed), out, Output(True))
        return (out / done["stages"]["warmup"]["policy"]).resolve()


STARTS = {
    "desk": Start(
        "desk/Orders-v0",
        "hard",
        "hasty/Orders-v0",
        (
            "warmup.easier=[{env_args: {level: easy}, tasks: 1000}, {env_args: {level: medium}, tasks: 2000}]",
            "warmup.tasks=4000",
            "warmup.sft.max_steps=2000",
        ),
    ),
    "keydoor": Start(
        "games/KeyDoor-v0",
        "medium",
        "hasty/KeyDoor-v0",
        (
            "warmup.easier=[{env_args: {level: easy}, tasks: 5000}]",
            "warmup.tasks=6000",
            "warmup.copy_steps=400",
            "warmup.sft.max_steps=3000",
        ),
    ),
}
BRIEF = ("warmup.easier=[]", "warmup.tasks=8", "warmup.copy_steps=2", "warmup.sft.max_steps=2", "warmup.sft.batch_size=2")
