"""Pieces that a program decides: what the row asks for, what the rubric asks of every answer, and how long it is."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agentgym import Task, UserError
from agentgym_envs.instruct.constraints import AnyConstraint
from agentgym_envs.instruct.ifeval.judge import AnyInstruction, instructions_of
from agentgym_envs.instruct.ifeval.language import demand
from agentgym_envs.instruct.text import tokens

from .base import Answered, Piece

Demand = AnyConstraint | AnyInstruction


class Checks(Piece, frozen=True, tag="checks"):
    """The share of the row's own demands that hold.

    They are given as in IFEval's format (``instruction_id_list`` and ``kwargs``) or as those of `instruct.constraints` (a list
    ``constraints``), or both. A row without demands is refused.
    """

    def open(self) -> None:
        """What tells languages."""
        demand()

    def demand(self, task: Task) -> None:
        """A task has demands, and ones that are known."""
        if not demands_of(task.data):
            raise UserError(f"task {task.id!r} has nothing to check: give it instruction_id_list and kwargs, or constraints")

    async def value(self, given: Answered) -> dict[str, float]:
        """The share, and each demand."""
        return _held(demands_of(given.task.data), given.answer)


class Format(Piece, frozen=True, tag="format"):
    """The share of demands that hold, the same demands for every answer.

    Attributes:
        demands: Each with its ``kind``, of IFEval's or of `instruct.constraints`, and its parameters.
    """

    demands: list[Demand]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.demands:
            raise ValueError("a format has one demand or more")

    async def value(self, given: Answered) -> dict[str, float]:
        """The share, and each demand."""
        return _held(self.demands, given.answer)


class Length(Piece, frozen=True, tag="length"):
    """How long the answer is, in words as `text.tokens` counts them.

    1 between the bounds; outside of them the ratio of the length and the nearer bound, so that it falls without a step.

    Attributes:
        least: Words.
        most: Words; None for no limit.
    """

    least: int = 1
    most: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least < 1 or (self.most is not None and self.most < self.least):
            raise ValueError(f"no answer has at least {self.least} and at most {self.most} words")

    async def value(self, given: Answered) -> dict[str, float]:
        """The value, and the words."""
        words = len(tokens(given.answer))
        most = words if self.most is None else self.most
        share = words / self.least if words < self.least else most / words if words > most else 1.0
        return {"": share, "words": float(words)}


def demands_of(data: Mapping[str, Any]) -> list[Demand]:
    """The demands of a row or of a task's data.

    Raises:
        KeyError, TypeError, ValueError: they are none.
    """
    instructions: list[Demand] = list(instructions_of(data)) if data.get("instruction_id_list") else []
    return instructions + msgspec.convert(data.get("constraints") or [], list[AnyConstraint])


def _held(demands: Iterable[Demand], answer: str) -> dict[str, float]:
    held = [
        (d.kind, bool(answer.strip()) and d.holds(answer.strip() if isinstance(d, AnyConstraint) else answer)) for d in demands
    ]
    share = sum(holds for _, holds in held) / len(held)
    return {"": share, **{kind: min(float(h) for k, h in held if k == kind) for kind, _ in held}}
