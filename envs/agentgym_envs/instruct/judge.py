"""How an answer is judged, from the task alone."""

import msgspec

from agentgym import Task, UserError
from agentgym_envs.instruct.constraints import AnyConstraint
from agentgym_envs.instruct.text import folded
from agentgym_envs.instruct.vocabulary import TOPICS

LEAST_WORDS = 5  # different ones, of more than a letter: the empty answer is no text
MOST_TOPICS = 3  # an answer about everything is about nothing
ECHO = 6  # words in a row; what a task asks to be used literally is shorter


class Instruction(msgspec.Struct, frozen=True):
    """What a task's data holds.

    Attributes:
        adjective: With the noun, what to write about.
        noun: The one word that every answer has to use; few others of its kind may stand beside it.
        constraints: What the answer has to fulfil.
    """

    adjective: str
    noun: str
    constraints: list[AnyConstraint]


def read(task: Task) -> Instruction:
    """The task's data.

    Raises:
        UserError: it is no instruction.
    """
    try:
        return msgspec.convert(task.data, Instruction)
    except msgspec.ValidationError as error:
        raise UserError(f"task {task.id!r} holds no instruction ({error}): take its data from tasks()") from error


def judge(task: Task, answer: str) -> dict[str, float]:
    """Reward parts: `solved` (all constraints hold), `share` (how many of them do), and each constraint by its kind.

    All are 0 for an answer that is no text on the topic or that quotes the instruction.
    """
    instruction, answer = read(task), answer.strip()
    said = folded(answer)
    words = {w for w in said if len(w) > 1}
    on_topic = instruction.noun in words and len(words & set(TOPICS)) <= MOST_TOPICS
    counts = len(words) >= LEAST_WORDS and on_topic and not _echoes(said, folded(task.prompt))
    held = {c.kind: float(counts and c.holds(answer)) for c in instruction.constraints}
    share = sum(held.values()) / max(1, len(held))
    return {"solved": float(counts and share == 1.0), "share": share, **held}


def _echoes(said: list[str], asked: list[str]) -> bool:
    text = f" {' '.join(said)} "
    return any(f" {' '.join(asked[i : i + ECHO])} " in text for i in range(len(asked) - ECHO + 1))
