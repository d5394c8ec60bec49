"""``tools/Decompose-v0``: take a problem apart; another model answers the parts.

DaSLaM (Juneja et al. 2023, arXiv:2310.18338): a small model learns to ask, a large one, which nobody trains, to answer.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from agentgym import (
    AsyncEnvironment,
    EnvironmentFailure,
    Message,
    Rubric,
    Task,
    Tasks,
    UserError,
    assistant,
    call,
    levels_of,
    procedural,
    tool,
    user,
)
from agentgym.partners import SCRIPT, open_model
from agentgym.sampling import Sampler
from agentgym_envs.code.answers import equal, stated
from agentgym_envs.code.maths import convert
from agentgym_envs.code.rows import tasks_of
from agentgym_envs.code.stories import LEVELS, make_task

from .arithmetic import value

SOLVER = "Answer the question, which is a part of a larger problem, in one short sentence with the number."
_EXPRESSION = re.compile(r"[-(\d][-+*/().\d ]*[\d)]")
MAX_QUESTION = 400  # characters: a part of a problem, not a book


class Solver(Protocol):
    """Whoever answers sub-questions."""

    async def answer(self, instructions: str, talk: Sequence[Message], seed: int) -> str:
        """The answer to the last question of a conversation."""


class Arithmetic:
    """Answers what is asked as an expression, such as "What is 12 * (3 + 4)?", and nothing else."""

    async def answer(self, instructions: str, talk: Sequence[Message], seed: int) -> str:
        """See `Solver`."""
        found = max(_EXPRESSION.findall(talk[-1].content), key=len, default="")
        try:
            return f"It is {value(found):g}." if found else "I do not know."
        except ValueError:
            return "I do not know."


class Asked(msgspec.Struct):
    """The hidden state.

    Attributes:
        talk: Questions and answers so far, from the solver's side.
    """

    talk: tuple[Message, ...] = ()


class Decompose(AsyncEnvironment):
    """Solve a word problem by asking a solver one part of it after the other, then state the result.

    The solver knows only what it is asked and what it has answered. Solved means that the final answer states the right number;
    `asked` tells whether the solver was asked at all.

    Args:
        solver: "script", which only calculates, or a model: a policy such as ``openai:MODEL``, or a sampler.
        data: A file or directory in GSM8K's format; None for problems of our own, endless.
        level: Of problems of our own: "easy", "medium", "hard"; None mixes all three.

    Raises:
        UserError: an unknown level, or no such solver.
    """

    instructions = (
        "Take the problem apart. Ask the solver one part after the other with the tool `ask`; it knows nothing of the problem "
        "but what you tell it. Then answer with the final number."
    )
    max_turns = 12
    rubric = Rubric(solved=1.0, asked=0.0)

    def __init__(self, solver: str | Sampler = SCRIPT, data: str | None = None, level: str | None = None) -> None:
        self.levels = levels_of(level, LEVELS)
        self.solver: Solver = Arithmetic() if solver == SCRIPT else open_model(solver)
        self.data = data

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the file, or endless ones of our own."""
        if self.data is not None:
            return tasks_of(self.data, convert, split)

        return procedural(lambda rng: make_task(rng, rng.choice(self.levels)), split)

    def begin(self, task: Task) -> str:
        """Nothing asked yet."""
        self.state = Asked()
        return task.prompt

    @tool
    async def ask(self, question: str) -> str:
        """Ask the solver a part of the problem."""
        talk = (*self.state.talk, user(question[:MAX_QUESTION]))
        seed = ((self._seed or 0) * 1000 + len(talk)) % 2**31
        try:
            answer = await self.solver.answer(SOLVER, talk, seed)
        except UserError as error:  # a wrong key or model: not the agent's doing, and nothing for it to read
            raise EnvironmentFailure(f"the solver cannot be asked: {error}") from error
        self.state.talk = (*talk, assistant(answer))
        return answer

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the number is right, and whether the solver was asked."""
        right = equal(stated(answer), self.task.data["answer"])
        return {"solved": float(right), "asked": float(bool(self.state.talk))}

    def oracle(self) -> Message:
        """Ask for the steps of the solution, where they are known, then answer."""
        steps, asked = self.task.data.get("steps", []), len(self.state.talk) // 2
        if asked < min(len(steps), self.max_turns - 1):
            return assistant("", call("ask", question=f"What is {steps[asked]}?"))
        return assistant(self.task.data["answer"])
