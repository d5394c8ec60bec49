"""``code/Maths-v0``: word problems with a Python interpreter as a tool (tool-integrated reasoning), judged by the number."""

import hashlib
import re
from collections.abc import Mapping

import msgspec

from agentgym import Message, Rubric, Task, Tasks, assistant, call, levels_of, procedural, tool
from agentgym.env import Snapshot
from agentgym.sandbox import Checkpoint, Limits

from .answers import equal, normal, stated
from .box import Sandboxed, shown
from .problems import parsed
from .rows import Row, split_by_hash, tasks_of
from .stories import LEVELS, make_task

_STEP = re.compile(r"<<([^<>=]+)=([^<>]*)>>")


class Worked(msgspec.Struct):
    """The hidden state.

    Attributes:
        cells: What was run in the session.
        checkpoint: The sandbox's state; set when a snapshot is taken.
    """

    cells: tuple[str, ...] = ()
    checkpoint: Checkpoint = Checkpoint()


class Maths(Sandboxed):
    r"""Solve a word problem, with a Python session whose variables stay as a tool, and state the result.

    Solved means that the final answer states the right number, and no other: with the tool `answer`, after ``####``, in
    ``\boxed{}``, or as the whole answer. A text that merely contains it gets nothing.

    Args:
        data: A file or directory in GSM8K's format; None for problems of our own, endless.
        level: Of problems of our own: "easy", "medium", "hard"; None mixes all three.
        sandbox: "local" or "docker".

    Raises:
        UserError: an unknown level or sandbox.
    """

    instructions = (
        "Solve the problem. You may calculate with the tool `python`, whose variables stay from call to call. "
        "Give the final number, and nothing else, with the tool `answer`."
    )
    max_turns = 10
    rubric = Rubric(solved=1.0, stated=0.0, calculated=0.0)
    limits = Limits(seconds=10.0)
    _used = False

    def __init__(self, data: str | None = None, level: str | None = None, sandbox: str = "local") -> None:
        super().__init__(sandbox)
        self.data = data
        self.levels = levels_of(level, LEVELS)

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the file, or endless ones of our own."""
        if self.data is not None:
            return tasks_of(self.data, convert, split)

        return procedural(lambda rng: make_task(rng, rng.choice(self.levels)), split)

    def begin(self, task: Task) -> str:
        """A new session."""
        self.state = Worked()
        self._return_to(Checkpoint())
        return task.prompt

    @tool
    def python(self, code: str) -> str:
        """Run Python code in the session; the value of a last expression is shown."""
        self._used = True
        result = self.sandbox.execute(code)
        self.state.cells = (*self.state.cells, code)
        text = shown(result.output).rstrip()
        if result.timed_out:
            text += "\nThis took too long; the session begins anew."
        elif result.out_of_memory:
            text += "\nThis took too much memory; the session begins anew."
        return text.strip() or "(no output)"

    @tool
    def answer(self, value: str) -> str:
        """Give the final number. This ends the task."""
        self.end(value)
        return "Given."

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the number is right, whether one is stated at all, whether anything was calculated."""
        value = stated(answer)
        return {
            "solved": float(equal(value, self.task.data["answer"])),
            "stated": float(normal(value) is not None),
            "calculated": float(bool(self.state.cells)),
        }

    def oracle(self) -> Message:
        """Calculate the steps of the solution, where they are known, then answer."""
        steps = self.task.data.get("steps", [])
        if steps and not self.state.cells:
            return assistant("", call("python", code="\n".join(f"print({step})" for step in steps)))
        return assistant("", call("answer", value=self.task.data["answer"]))

    # ---- states --------------------------------------------------------------------------------------------------------

    def state_key(self) -> str:
        """A hash of the task and of what was run."""
        return hashlib.blake2b(msgspec.json.encode((self.task.id, self.state.cells)), digest_size=16).hexdigest()

    def copy_state(self, state: Worked) -> Worked:
        """All in it is immutable."""
        return msgspec.structs.replace(state)

    def snapshot(self) -> Snapshot:
        """The sandbox's state with it."""
        if self.state.cells:
            self.state.checkpoint = self.sandbox.snapshot()
        return super().snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Return to a state; the session runs its cells again when it is needed."""
        super().restore(snapshot)
        self._return_to(self.state.checkpoint)

    def _return_to(self, checkpoint: Checkpoint) -> None:
        if self._used or checkpoint.cells or checkpoint.files:
            self.sandbox.restore(checkpoint)
            self._used = bool(checkpoint.cells or checkpoint.files)


def convert(row: Row, named: str) -> Task:
    """A row of GSM8K as a task (Cobbe et al. 2021, arXiv:2110.14168): ``question`` and ``answer``, which ends in ``#### number``.

    Its calculator notes ``<<expression=value>>`` are the steps of the gold policy. A row whose answer is no number (there is none
    among those published) makes a task that nobody solves.

    Raises:
        KeyError, ValueError: it is a row of something else.
    """
    question, solution = row["question"].strip(), row["answer"]
    answer = stated(solution)
    if "####" not in solution:
        raise ValueError(f"the answer has no ####: {solution[-50:]!r}")
    steps = [step for step, _ in _STEP.findall(solution) if _is_expression(step)]
    level = "easy" if len(steps) <= 2 else "medium" if len(steps) <= 4 else "hard"
    number = hashlib.blake2b(f"{question}{solution}".encode(), digest_size=6).hexdigest()
    return Task(question, {"answer": answer, "steps": steps}, f"gsm8k-{number}", named or split_by_hash(question), level)


def _is_expression(step: str) -> bool:
    """Some notes are no Python: 20%*5."""
    if not re.fullmatch(r"[\d\s.+*/()-]+", step):
        return False
    try:
        return bool(parsed(step.strip()).body)
    except SyntaxError:
        return False
