"""``code/Python-v0``: write a function, run tests, read what went wrong, mend it, submit; hidden tests decide.

The feedback is LeTI's (Wang et al. 2023, arXiv:2305.10314): the failing assertion or the stack trace, as text.
"""

import random
from collections.abc import Mapping

import msgspec

from agentgym import Message, Rubric, Task, Tasks, ToolError, assistant, call, levels_of, procedural, tool
from agentgym.sandbox import MIB, Limits, Report

from .box import Sandboxed, code_of, shown
from .functions import LEVELS, make_task
from .problems import Problem, convert
from .rows import tasks_of

MAX_PROGRAM = 100_000  # characters


class Tried(msgspec.Struct):
    """The hidden state.

    Attributes:
        programs: How many programs were run or submitted.
        passed: Whether the last one passed the visible tests.
    """

    programs: int = 0
    passed: bool = False


class Python(Sandboxed):
    """Write a Python program; run the visible tests and read what fails; submit it, and hidden tests decide.

    Solved means that the program submitted passes all tests, the hidden ones included. Parts of the reward beside it: whether
    it runs at all (`compiles`), the shares of `visible` and `hidden` tests that pass, and `attempts`, one over the number of
    programs tried. A final answer counts as submitted: its last fenced block, or all of it.

    Args:
        data: A file or directory in the format of MBPP or HumanEval (see `problems`); None for tasks of our own, endless.
        level: Of tasks of our own: "easy", "medium", "hard"; None mixes all three.
        sandbox: "local" or "docker".

    Raises:
        UserError: an unknown level or sandbox.
    """

    instructions = (
        "Write a Python program that does what is asked. Run the tests with the tool `test`, mend what fails, "
        "then hand the program in with the tool `submit`: further tests will decide."
    )
    max_turns = 8
    rubric = Rubric(solved=1.0, compiles=0.0, visible=0.0, hidden=0.0, attempts=0.0)
    limits = Limits(seconds=30.0, memory=512 * MIB)

    def __init__(self, data: str | None = None, level: str | None = None, sandbox: str = "local") -> None:
        super().__init__(sandbox)
        self.data = data
        self.levels = levels_of(level, LEVELS)

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the file, or endless ones of our own."""
        if self.data is not None:
            return tasks_of(self.data, convert, split)
        return procedural(self._make, split, same=lambda task: task.data["gold"])

    def _make(self, rng: random.Random) -> Task:
        return make_task(rng, rng.choice(self.levels))

    def begin(self, task: Task) -> str:
        """Nothing tried yet."""
        self.problem = msgspec.convert(task.data, Problem)
        self.state = Tried()
        return task.prompt

    @tool
    def test(self, code: str) -> str:
        """Run the visible tests on a program."""
        report = self._examine(code, hidden=False)
        self.state.passed = report.loaded and report.passed == len(self.problem.visible)
        return feedback(report, self.problem.visible)

    @tool
    def submit(self, code: str) -> str:
        """Hand a program in. This ends the task."""
        self.end(code)
        return "Submitted."

    def score(self, answer: str) -> Mapping[str, float]:
        """All tests on the program that was handed in."""
        program = code_of(answer)
        if not program.strip() or len(program) > MAX_PROGRAM:
            report = Report(False, "", ("no program",) * len(self.problem.visible + self.problem.hidden))
        else:
            report = self._examine(program, hidden=True)
        return self.parts(report) | {"attempts": 1 / max(1, self.state.programs)}

    def parts(self, report: Report) -> dict[str, float]:
        """The parts of the reward that come from an exam with all tests."""
        passed, visible = [not failure for failure in report.failures], len(self.problem.visible)
        return {
            "solved": float(report.loaded and all(passed)),
            "compiles": float(report.loaded),
            "visible": sum(passed[:visible]) / max(1, visible),
            "hidden": sum(passed[visible:]) / max(1, len(passed) - visible),
        }

    def oracle(self) -> Message:
        """Run the tests on the solution, then hand it in."""
        return assistant("", call("submit" if self.state.passed else "test", code=self.problem.gold))

    def _examine(self, program: str, hidden: bool) -> Report:
        if len(program) > MAX_PROGRAM:
            raise ToolError(f"the program has more than {MAX_PROGRAM} characters")
        self.state.programs += 1
        return self.sandbox.examine(self.problem.exam(program, hidden))


def feedback(report: Report, tests: tuple[str, ...]) -> str:
    """What an agent is told of an exam."""
    if not report.loaded:
        text = f"The program does not run.\n{report.error.strip()}"
    elif not tests:
        text = "The program runs. There are no visible tests."
    else:
        text = f"{report.passed} of {len(tests)} visible tests passed."
        for test, failure in zip(tests, report.failures, strict=True):
            if failure:
                text += f"\n\nFailed: {test.strip()}\n{failure.strip()}"
    if report.output.strip():
        text += f"\n\nIt printed:\n{report.output.strip()}"
    return shown(text)
