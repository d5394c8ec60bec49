"""A piece of a rubric: something that looks at an answer and says, by name, how good it is."""

import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from agentgym import EnvironmentFailure, Message, Task, UserError
from agentgym.judging import asked
from agentgym.partners import open_model

T = TypeVar("T")
_MARK = re.compile(r"\[(?=\s*(?:end of|request|answer)\b)", re.IGNORECASE)


class Answered(msgspec.Struct, frozen=True):
    """What is judged.

    Attributes:
        task: With the row's data.
        opening: What the agent was told.
        answer: What it answered.
    """

    task: Task
    opening: tuple[Message, ...]
    answer: str

    @property
    def request(self) -> str:
        """The opening as a judge reads it."""
        if len(self.opening) == 1:
            return quoted(self.opening[0].content)
        return "\n\n".join(f"{m.role}: {quoted(m.content)}" for m in self.opening)


class Piece(msgspec.Struct, frozen=True, tag_field="kind", kw_only=True, forbid_unknown_fields=True):
    """One piece; plain JSON together with `kind`.

    Attributes:
        weight: Of its value in the reward, in relation to the other pieces' weights; 0 only records it.
        name: Of its part of the reward; by default its kind.
        verifiable: Whether a program decides.
    """

    weight: float = 1.0
    name: str = ""
    verifiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"the weight {self.weight} is none")

    @property
    def called(self) -> str:
        """The name of its part."""
        return self.name or str(self.__struct_config__.tag)

    def demand(self, task: Task) -> None:
        """Refuse a task that lacks what this piece needs, before anybody answers it.

        Raises:
            UserError: it does.
        """

    def open(self) -> None:
        """Refuse what is not there: a model, a package.

        Raises:
            UserError: it is not there.
        """

    async def value(self, given: Answered) -> dict[str, float]:
        """What the answer is worth, in [0, 1], under the name ``""``, and whatever else is to be recorded.

        Raises:
            EnvironmentFailure: it cannot be said, and that is not the agent's doing.
        """
        raise NotImplementedError


class JudgePiece(Piece, frozen=True):
    """A piece that asks a model.

    Attributes:
        model: Who judges: a policy such as ``openai:MODEL``, or a sampler.
    """

    model: Any
    verifiable: ClassVar[bool] = False

    def open(self) -> None:
        """The sampler."""
        open_model(self.model)

    async def ask(self, question: str, read: Callable[[str], T | None], given: Answered, of: str = "") -> T:
        """The judge's verdict.

        Args:
            question: See `agentgym.judging.asked`.
            read: The same.
            given: What is judged; task, piece and `of` decide on the seed.
            of: Which of several questions it is.

        Raises:
            EnvironmentFailure: it gives none.
        """
        try:
            verdict = await asked(open_model(self.model), question, read, f"{given.task.id}/{self.called}/{of}")
        except UserError as error:  # a wrong key or model
            raise EnvironmentFailure(f"the judge of {self.called!r} cannot be asked: {error}") from error
        if verdict is None:
            raise EnvironmentFailure(f"the judge of {self.called!r} gave no verdict on task {given.task.id}")
        return verdict


def quoted(text: str) -> str:
    """A text without the marks around texts in a judge's question: no answer can end itself and go on as somebody else."""
    return _MARK.sub("(", text)


def reference(task: Task) -> str:
    """The reference answer of a task.

    Raises:
        UserError: it has none.
    """
    found: str = task.data.get("reference", "")
    if not found:
        raise UserError(f"task {task.id!r} has no reference answer, and the rubric compares with one: leave that piece out")
    return found
