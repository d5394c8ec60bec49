"""``instruct/Verifiable-v0``: follow an instruction; alignment in a single turn is an environment that ends at step one."""

from collections.abc import Mapping

from agentgym import Environment, Message, Rubric, Task, Tasks, assistant, levels_of, procedural
from agentgym_envs.instruct.judge import judge, read
from agentgym_envs.instruct.tasks import LEVELS, make_task
from agentgym_envs.instruct.writer import gold


class Verifiable(Environment):
    """Write on a topic and fulfil one to three constraints on length, layout, words, letters and case.

    Solved means that every constraint holds. Each answer also has to be a text on the topic, as the request says: five
    different words or more, the topic among them, and not the instruction itself; nothing else scores anything.

    Args:
        level: "easy" (one constraint), "medium" (two), "hard" (three); None mixes all three.

    Raises:
        UserError: an unknown level.
    """

    max_turns = 1
    rubric = Rubric(solved=1.0, share=0.0)

    def __init__(self, level: str | None = None) -> None:
        self.levels = levels_of(level, LEVELS)

    def tasks(self, split: str = "train") -> Tasks:
        """Endless; levels, topics and constraints are drawn anew for each task."""
        return procedural(lambda rng: make_task(rng, rng.choice(self.levels)), split, same=lambda task: task.data)

    def begin(self, task: Task) -> str:
        """Say the instruction; a task without one is refused here and not at the end."""
        read(task)
        return task.prompt

    def score(self, answer: str) -> Mapping[str, float]:
        """See `judge`."""
        return judge(self.task, answer)

    def oracle(self) -> Message | None:
        """A text that solves the task; None for a task of your own that the writer cannot solve."""
        answer = gold(self.task)
        return None if answer is None else assistant(answer)
