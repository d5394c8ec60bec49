"""``instruct/MtBench-v0``: two turns whose answers a judge rates, after MT-Bench (Zheng et al. 2023, arXiv:2306.05685)."""

import random
from collections.abc import Mapping
from functools import partial
from typing import Protocol

import msgspec

from agentgym import AsyncEnvironment, EnvironmentFailure, Message, Rubric, Task, Tasks, UserError, assistant, procedural
from agentgym.judging import asked, bracketed, together
from agentgym.partners import SCRIPT, Model, open_model
from agentgym.sampling import Sampler
from agentgym.tasks import check_split
from agentgym_envs.code import stories
from agentgym_envs.code.answers import equal, stated

from .files import OWN, Template, filled, load


class Judge(Protocol):
    """Whoever rates."""

    async def rate(self, task: Task, turn: int, answers: tuple[str, str]) -> float | None:
        """The rating of the first answer (turn 0) or of the second (turn 1), in [0, 1]; None where there is none."""


class Script:
    """Gives the best rating to an answer that states the number of the reference, else the worst."""

    async def rate(self, task: Task, turn: int, answers: tuple[str, str]) -> float | None:
        """See `Judge`."""
        return float(equal(stated(answers[turn]), task.data["reference"][turn]))


class Reader:
    """A model that reads what the published judge reads: the first turn alone, then both, with references where there are any."""

    def __init__(self, model: Model, templates: Mapping[str, Template]) -> None:
        self.model, self.templates = model, templates

    async def rate(self, task: Task, turn: int, answers: tuple[str, str]) -> float | None:
        """See `Judge`."""
        questions, reference = tuple(task.data["turns"]), tuple(task.data["reference"])
        template = self.templates[f"single{'-math' if reference else ''}-v1{'-multi-turn' if turn else ''}"]
        question = filled(template, questions, answers, reference or ("", ""))
        read = partial(bracketed, least=1, most=10)
        return await asked(self.model, question, read, f"{task.id}/{turn}", template.system_prompt)


class Answers(msgspec.Struct):
    """The hidden state.

    Attributes:
        first: The answer to the first question; None before it.
    """

    first: str | None = None


class MtBench(AsyncEnvironment):
    """Answer a question, then a second one that builds on it; a judge rates both answers.

    The parts `first` and `second` are the ratings in [0, 1], `score` is their mean from 1 to 10, as published. Mathematics,
    reasoning and coding are compared with reference answers. A judge that gives no rating is a failure of the environment.

    Args:
        data: MT-Bench's folder; None for word problems of our own with a second question, endless.
        judge: "script", which reads the numbers of our own problems, or a model: a policy such as ``openai:MODEL``, or a sampler.
        enough: The mean of both parts from which an episode is a success.

    Raises:
        UserError: a file is missing, there is no such judge, or nobody is named to judge published questions.
    """

    max_turns = 4
    rubric = Rubric(first=0.5, second=0.5, score=0.0)

    def __init__(self, data: str | None = None, judge: str | Sampler = SCRIPT, enough: float = 1.0) -> None:
        if data is not None and judge == SCRIPT:
            raise UserError("a script cannot judge published questions: say who does with judge=openai:MODEL")
        self.enough = enough
        self.loaded: list[Task] | None = None
        templates = {t.name: t for t in OWN}
        if data is not None:
            self.loaded, templates = load(data)
        self.judge: Judge = Script() if judge == SCRIPT else Reader(open_model(judge), templates)

    def tasks(self, split: str = "train") -> Tasks:
        """The published questions, all of which are a test, or endless ones of our own."""
        if self.loaded is None:
            return procedural(make_task, split)
        return Tasks.of(self.loaded if check_split(split) == "test" else [])

    def begin(self, task: Task) -> str:
        """The first question."""
        self.state = Answers()
        return task.prompt

    def reply(self, message: Message) -> str | None:
        """The second question."""
        if self.state.first is not None:
            return None
        self.state.first = message.content
        second: str = self.task.data["turns"][1]
        return second

    async def score(self, answer: str) -> Mapping[str, float]:  # type: ignore[override]  # `AsyncEnvironment` allows it
        """Both ratings.

        Raises:
            EnvironmentFailure: the judge gave none.
        """
        answers = (self.state.first or "", answer)
        try:
            ratings = await together(*(self.judge.rate(self.task, turn, answers) for turn in (0, 1)))
        except UserError as error:  # a wrong key or model
            raise EnvironmentFailure(f"the judge cannot be asked: {error}") from error
        first, second = ratings
        if first is None or second is None:
            raise EnvironmentFailure(f"the judge gave no rating of task {self.task.id}")
        return {"first": first, "second": second, "score": 1 + 9 * (first + second) / 2}

    def oracle(self) -> Message | None:
        """The numbers of our own problems."""
        return assistant(self.task.data["reference"][int(self.state.first is not None)]) if self.loaded is None else None


def make_task(rng: random.Random) -> Task:
    """A word problem, and what would come of its result."""
    problem, times, more = stories.make_task(rng, rng.choice(list(stories.LEVELS))), rng.randint(2, 9), rng.randint(2, 50)
    number = int(problem.data["answer"])
    second = f"And if that number were {times} times as large, and {more} were added to it: what would it be?"
    question = f"{problem.prompt} Answer with the number alone, or after ####."
    data = {"turns": [question, second], "reference": [str(number), str(number * times + more)], "category": "math"}
    return Task(question, data, difficulty=problem.difficulty)
