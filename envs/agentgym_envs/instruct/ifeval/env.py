"""``instruct/IFEval-v0``: prompts with instructions that a program can check, after Zhou et al. 2023 (arXiv:2311.07911)."""

import hashlib
from collections.abc import Mapping

from agentgym import Environment, Message, Rubric, Task, Tasks, assistant, levels_of, procedural
from agentgym_envs.code.rows import Row, tasks_of
from agentgym_envs.instruct.ifeval import judge, tasks
from agentgym_envs.instruct.ifeval.language import demand
from agentgym_envs.instruct.ifeval.writer import gold
from agentgym_envs.instruct.tasks import LEVELS


class IFEval(Environment):
    """Answer a prompt and follow all of its verifiable instructions, of 25 types.

    Success is strict: all instructions hold of the answer as it is. See `judge` for the parts of the reward.

    Args:
        data: A file or directory in IFEval's format; None for prompts of our own with the same 25 types, endless.
        level: Of prompts of our own: "easy" (one instruction), "medium" (two), "hard" (three); None mixes all three.

    Raises:
        UserError: an unknown level.
        NotInstalled: there is no py3langid, which tells languages.
    """

    max_turns = 1
    rubric = Rubric(prompt_strict=1.0)

    def __init__(self, data: str | None = None, level: str | None = None) -> None:
        demand()
        self.data = data
        self.levels = levels_of(level, LEVELS)

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the file, which are a test unless its name says otherwise, or endless ones of our own."""
        if self.data is not None:
            return tasks_of(self.data, convert, split)

        return procedural(lambda rng: tasks.make_task(rng, rng.choice(self.levels)), split, same=lambda task: task.data)

    def begin(self, task: Task) -> str:
        """Say the prompt; a task without instructions is refused here and not at the end."""
        judge.read(task)
        return task.prompt

    def score(self, answer: str) -> Mapping[str, float]:
        """See `judge.judge`."""
        return judge.judge(judge.read(self.task), answer)

    def oracle(self) -> Message | None:
        """A text that follows all instructions; None where the writer finds none."""
        answer = gold(judge.read(self.task))
        return None if answer is None else assistant(answer)


def convert(row: Row, named: str) -> Task:
    """A published row as a task: ``key``, ``prompt``, ``instruction_id_list``, ``kwargs``.

    Raises:
        KeyError, TypeError, ValueError: it is a row of something else, or has an unknown instruction.
    """
    prompt, data = row["prompt"], {"instruction_id_list": row["instruction_id_list"], "kwargs": row["kwargs"]}
    found = judge.instructions_of(data)
    key = row.get("key") or hashlib.blake2b(prompt.encode(), digest_size=6).hexdigest()
    return Task(prompt, data, f"ifeval-{key}", named or "test", tuple(LEVELS)[min(len(found), 3) - 1])
