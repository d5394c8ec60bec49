"""``instruct/Prompts-v0``: answer prompts of any list, in one turn; a rubric of your own says how well."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym import AsyncEnvironment, Message, Rubric, Task, Tasks, assistant, procedural
from agentgym.dialects.base import clean
from agentgym.judging import together
from agentgym_envs.code.rows import tasks_of
from agentgym_envs.instruct.ifeval.judge import instructions_of
from agentgym_envs.instruct.ifeval.tasks import make_task
from agentgym_envs.instruct.ifeval.writer import gold
from agentgym_envs.instruct.tasks import LEVELS
from agentgym_envs.tools.history import opening

from .base import Answered, Piece
from .rows import convert, opening_of
from .rubric import read_rubric
from .verifiable import Checks


class Prompts(AsyncEnvironment):
    """Answer a prompt; how well is said by a rubric of pieces.

    The pieces: `checks` (the row's own demands), `format` and `length`, `model` (a reward model), `judge` (a rating), `pairwise`
    (against the row's reference, in both orders), `axes` (a rating for each of several aspects), `principles`. Each gives a
    part of the reward in [0, 1] under its name, details as ``name:detail``; the reward is their mean by weights. A judge that
    gives no verdict is a failure of the environment, never a 0.

    Args:
        data: Prompts: JSON lines, a JSON array, a directory of such files, or a directory of `Dataset.save_to_disk`; see
            `rows.convert`. None for prompts of our own with verifiable instructions, endless.
        rubric: A list of pieces, such as ``[{"kind": "judge", "model": "openai:MODEL"}, {"kind": "length", "most": 300}]``, or a
            JSON file with one. None for `checks` alone with prompts of our own, and for no reward with others.
        enough: The reward from which an answer is a success.

    Raises:
        UserError: the rubric is none, or what it needs is not there.
    """

    max_turns = 1

    def __init__(self, data: str | None = None, rubric: str | Sequence[Any] | None = None, enough: float = 1.0) -> None:
        if rubric is None and data is None:
            rubric = [{"kind": "checks"}]
        self.data, self.enough, self.judged = data, enough, rubric is not None
        self.pieces: list[Piece] = [] if rubric is None else read_rubric(rubric)
        total = sum(p.weight for p in self.pieces)
        self.rubric = Rubric(**{p.called: p.weight / total for p in self.pieces})

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the list, or endless ones of our own."""
        if self.data is not None:
            return tasks_of(self.data, convert, split, repeated=True)

        def generate(rng: random.Random) -> Task:
            return make_task(rng, rng.choice(list(LEVELS)))

        return procedural(generate, split, same=lambda task: task.data)

    def begin(self, task: Task) -> list[Message]:
        """Say the prompt; a task that lacks what the rubric needs is refused here and not at the end."""
        for piece in self.pieces:
            piece.demand(task)
        return [Message(m.role, clean(m.content)) for m in opening(opening_of(task))]

    async def score(self, answer: str) -> Mapping[str, float]:  # type: ignore[override]  # `AsyncEnvironment` allows it
        """Each piece's value, all asked at the same time.

        Raises:
            EnvironmentFailure: a judge or a reward model gave none.
        """
        given = Answered(self.task, tuple(opening(opening_of(self.task))), answer)
        values = await together(*(piece.value(given) for piece in self.pieces))
        parts = zip(self.pieces, values, strict=True)
        return {f"{p.called}:{detail}" if detail else p.called: v for p, found in parts for detail, v in found.items()}

    def oracle(self) -> Message | None:
        """A text that follows IFEval's instructions, where nothing else is asked for."""
        if not all(isinstance(p, Checks) for p in self.pieces) or "instruction_id_list" not in self.task.data:
            return None
        answer = None if self.task.data.get("constraints") else gold(instructions_of(self.task.data))
        return None if answer is None else assistant(answer)
