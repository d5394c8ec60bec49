"""``code/Shell-v0``: tasks in a Linux shell, judged by a script that looks at the files in the end."""

from collections.abc import Mapping

import msgspec

from agentgym import EnvironmentFailure, Message, Rubric, Task, Tasks, assistant, call, levels_of, procedural, tool
from agentgym.env import Snapshot
from agentgym.sandbox import MIB, Checkpoint, Limits, Result

from .box import Sandboxed
from .chores import LEVELS, make_task
from .rows import tasks_of
from .scripts import Chore, convert

MAX_ANSWER = 10_000  # characters


class Files(msgspec.Struct):
    """The hidden state.

    Attributes:
        checkpoint: All files.
        commands: How many commands were run.
    """

    checkpoint: Checkpoint
    commands: int = 0


class Shell(Sandboxed):
    """Work on files with a Linux shell: change them as asked, or answer a question about them.

    Solved means that the task's check script succeeds on the files as they are in the end, given the answer. Tasks of our own
    ask for exactly certain files below ``/work``: what else is left there is a mistake. The script is not in the sandbox before
    the end, and what the agent started does not run any more then. What depends on the clock (``date``, the times of files)
    or on numbers of processes differs from episode to episode.

    Args:
        data: A file or directory of rows in the manner of AgentBench's OS tasks (see `scripts.convert`); None for tasks of our
            own, endless.
        level: Of tasks of our own: "easy", "medium", "hard"; None mixes all three.
        sandbox: "local" or "docker".

    Raises:
        UserError: an unknown level or sandbox.
    """

    instructions = (
        "You work in a Linux shell through the tool `bash`; each command starts in the directory /work, without network and "
        "without root. If a change is asked for, make it, leave no other files in /work (use /tmp), and then say that it is "
        "done. To answer a question, call the tool `answer`."
    )
    max_turns = 10
    rubric = Rubric(solved=1.0)
    limits = Limits(disk=16 * MIB)

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
        """The files as they are set up."""
        self.chore = msgspec.convert(task.data, Chore)
        self.sandbox.restore(Checkpoint())
        if self.chore.setup:
            done = self._bash(self.chore.setup)
            if not done.ok:
                raise EnvironmentFailure(f"task {task.id!r} could not be set up: {done.output[-300:]}")
        self.start = self.sandbox.snapshot()
        self.state = Files(self.start)
        return task.prompt

    @tool
    def bash(self, command: str) -> str:
        """Run a command in /work; what it starts in the background ends with it."""
        result = self._bash(command)
        self.state.checkpoint = self.sandbox.snapshot()
        self.state.commands += 1
        return _told(result)

    @tool
    def answer(self, value: str) -> str:
        """Give the answer to the question. This ends the task."""
        self.end(value)
        return "Given."

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the check succeeds."""
        return {"solved": float(self._bash(self.chore.check, _argument(answer)).ok)}

    def oracle(self) -> Message | None:
        """Run the right commands once, then answer; None without them, or where the files are neither as at first nor right."""
        if self.state.commands:
            answer = self._apart(self.chore.gold).output if self.chore.answer is None else self.chore.answer
            if self._apart(self.chore.check, _argument(answer)).ok:
                return assistant("", call("answer", value=answer.strip())) if answer.strip() else assistant("It is done.")
        if self.chore.gold and self.state.checkpoint == self.start:
            return assistant("", call("bash", command=self.chore.gold))
        return None

    def _apart(self, script: str, *arguments: str) -> Result:
        """Run a script that leaves no trace."""
        result = self._bash(script, *arguments)
        self.sandbox.restore(self.state.checkpoint)
        return result

    def _bash(self, script: str, *arguments: str) -> Result:
        return self.sandbox.run(["bash", "-c", script, "bash", *arguments])

    # ---- states --------------------------------------------------------------------------------------------------------

    def copy_state(self, state: Files) -> Files:
        """All in it is immutable."""
        return msgspec.structs.replace(state)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to a state, and to its files."""
        super().restore(snapshot)
        self.sandbox.restore(self.state.checkpoint)


def _argument(answer: str) -> str:
    """An answer as an argument of a script."""
    return answer[:MAX_ANSWER].replace("\0", "\ufffd").strip()


def _told(result: Result) -> str:
    """What an agent is told of a command."""
    text = result.output.rstrip()
    if result.timed_out:
        text += "\nThis took too long and was ended."
    elif result.out_of_memory:
        text += "\nThis took too much memory and was ended."
    elif result.exit_code:
        text += f"\n(exit code {result.exit_code})"
    return text.strip("\n") or "(no output)"
