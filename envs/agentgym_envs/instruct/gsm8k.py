"""``instruct/Gsm8k-v0``: word problems answered in one turn, without tools (Cobbe et al. 2021, arXiv:2110.14168)."""

from collections.abc import Mapping

from agentgym import Environment, Message, Rubric, Tasks, assistant, levels_of, procedural
from agentgym_envs.code.answers import equal, normal, stated
from agentgym_envs.code.maths import convert
from agentgym_envs.code.rows import tasks_of
from agentgym_envs.code.stories import LEVELS, make_task


class Gsm8k(Environment):
    r"""Solve a word problem by thinking alone, and state the number.

    Solved means that the answer states the right number: after ``####``, in ``\boxed{}``, or as the whole answer. A text that
    merely contains it gets nothing; ``code/Maths-v0`` is the same with an interpreter.

    Args:
        data: A file or directory in GSM8K's format; None for problems of our own, endless.
        level: Of problems of our own: "easy", "medium", "hard"; None mixes all three.

    Raises:
        UserError: an unknown level.
    """

    instructions = "Solve the problem step by step. End with a line that holds #### and the final number, and nothing else."
    max_turns = 1
    rubric = Rubric(solved=1.0, stated=0.0)

    def __init__(self, data: str | None = None, level: str | None = None) -> None:
        self.data = data
        self.levels = levels_of(level, LEVELS)

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the file, or endless ones of our own."""
        if self.data is not None:
            return tasks_of(self.data, convert, split)

        return procedural(lambda rng: make_task(rng, rng.choice(self.levels)), split)

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the number is right, and whether one is stated at all."""
        value = stated(answer)
        return {"solved": float(equal(value, self.task.data["answer"])), "stated": float(normal(value) is not None)}

    def oracle(self) -> Message:
        """The steps of the solution, where they are known, and the number."""
        return assistant("\n".join([*self.task.data.get("steps", []), f"#### {self.task.data['answer']}"]))
