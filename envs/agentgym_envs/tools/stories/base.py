"""What both text games share: one tool that takes commands, and a state that is the commands taken so far."""

from abc import abstractmethod
from collections.abc import Mapping

import msgspec

from agentgym import Environment, Message, Rubric, Task, ToolError, assistant, call, tool
from agentgym.errors import NotInstalled


class Story(msgspec.Struct, frozen=True):
    """The hidden state: in these games the commands say it all.

    Attributes:
        commands: Those taken so far.
        score: The share of the game's points that they earned.
        won: Whether they won the game.
        over: Whether they ended it.
        digest: A hash of the world that they led to.
    """

    commands: tuple[str, ...] = ()
    score: float = 0.0
    won: bool = False
    over: bool = False
    digest: str = ""


class StoryGame(Environment):
    """A text game that is the same whenever the same commands are given; its machine is brought to where the state says.

    Subclasses say how: `open` begins a task's game, `play` takes a command. Returning to a state plays its commands again, unless
    the machine is there already.
    """

    rubric = Rubric(won=1.0, score=0.0)
    heavy = True
    _at: Story | None = None

    @abstractmethod
    def open(self, task: Task) -> tuple[str, Story]:
        """Begin the game of a task: what is told first, and the state."""

    @abstractmethod
    def play(self, command: str) -> tuple[str, Story, bool]:
        """Take a command in the game as it stands: what is told, the state after it, and whether it was a command at all."""

    @abstractmethod
    def gold(self) -> str | None:
        """The right next command in the game as it stands; None when nothing is left to do."""

    def begin(self, task: Task) -> str:
        """The beginning of the game."""
        told, self.state = self.open(task)
        self._at = self.state
        return told

    @tool
    def act(self, command: str) -> str:
        """Take a command of the game, such as "look" or "open door"."""
        self._return()
        told, self.state, known = self.play(command.strip())
        self._at = self.state
        if self.state.over:
            self.end()
        if not known:
            raise ToolError(told)
        return told

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the game was won, and the share of its points."""
        return {"won": float(self.state.won), "score": self.state.score}

    def oracle(self) -> Message:
        """The next command of the game's own solution."""
        self._return()
        command = self.gold()
        return assistant("There is nothing left to do.") if command is None else assistant("", call("act", command=command))

    def copy_state(self, state: Story) -> Story:
        """A story is immutable."""
        return state

    def state_key(self) -> str:
        """The task and a hash of the world."""
        return f"{self.task.id}/{self.state.digest}"

    def _return(self) -> None:
        """Bring the machine to the state, if it is elsewhere."""
        if self._at is self.state:
            return
        _, at = self.open(self.task)
        for command in self.state.commands:
            _, at, _ = self.play(command)
        self._at = self.state = at


def needs(package: str, extra: str) -> NotInstalled:
    """Says how to get a package that is not there."""
    return NotInstalled(f"this game needs the package {package}: pip install 'agentgym[{extra}]'")
