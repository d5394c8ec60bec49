"""MT-Bench's files: questions, reference answers, and the judge's prompts (Zheng et al. 2023, arXiv:2306.05685)."""

from pathlib import Path
from typing import TypeVar

import msgspec

from agentgym import Task, UserError

T = TypeVar("T")

WITH_REFERENCE = ("math", "reasoning", "coding")  # categories whose answers the judge compares with a reference


class Template(msgspec.Struct, frozen=True):
    """What a judge is told.

    Attributes:
        name: ``single-v1`` for the first turn, ``single-v1-multi-turn`` for the second; with references ``single-math-v1``.
        system_prompt: The system message.
        prompt_template: The question, with ``{question}``, ``{answer}`` and ``{ref_answer_1}``, or ``{question_1}`` and so on.
    """

    name: str
    system_prompt: str
    prompt_template: str


class _Question(msgspec.Struct):
    question_id: int | str
    category: str
    turns: tuple[str, str]
    reference: list[str] = []


class _Turns(msgspec.Struct):
    turns: tuple[str, str]


class _Reference(msgspec.Struct):
    question_id: int | str
    choices: list[_Turns]


_RATING = "Explain in short, then rate {what} from 1 to 10 in this form: [[rating]], such as [[5]]."
_ALONE = _RATING.format(what="the answer")
_SECOND = _RATING.format(what="the answer to the second question")
_TASK = "You are an impartial judge of an assistant's answers: are they helpful, accurate, creative, detailed enough?"
_COMPARED = (
    "You are an impartial judge of an assistant's answers: compare them with the reference answers, and find the mistakes."
)
_TALK = "### User:\n{question_1}\n\n### Assistant:\n{answer_1}\n\n### User:\n{question_2}\n\n### Assistant:\n{answer_2}"
_GIVEN = "### User:\n{question_1}\n\n### Reference:\n{ref_answer_1}\n\n### User:\n{question_2}\n\n### Reference:\n{ref_answer_2}"
OWN = (
    Template("single-v1", _TASK, f"{_ALONE}\n\n[Question]\n{{question}}\n\n[Answer]\n{{answer}}"),
    Template(
        "single-math-v1",
        _COMPARED,
        f"{_ALONE}\n\n[Question]\n{{question}}\n\n[Reference]\n{{ref_answer_1}}\n\n[Answer]\n{{answer}}",
    ),
    Template("single-v1-multi-turn", f"{_TASK} {_SECOND}", _TALK),
    Template("single-math-v1-multi-turn", f"{_COMPARED} {_SECOND}", f"[References]\n{_GIVEN}\n\n[Conversation]\n{_TALK}"),
)


def load(data: str) -> tuple[list[Task], dict[str, Template]]:
    """Tasks and templates of a folder in MT-Bench's layout.

    Args:
        data: The folder with ``question.jsonl`` and ``reference_answer/``, or the one above it, or the file of questions. The
            judge's prompts are taken from ``judge_prompts.jsonl`` in either folder; without it our own are used.

    Returns:
        All questions, each a test task, and the templates by name.

    Raises:
        UserError: a file is missing or of another layout.
    """
    place = Path(data)
    questions = next((f for f in (place, place / "question.jsonl", place / "mt_bench" / "question.jsonl") if f.is_file()), None)
    if questions is None:
        raise UserError(f"there is no question.jsonl in {data}: give MT-Bench's folder with data=PATH")
    known: dict[int | str, list[str]] = {}
    for file in sorted((questions.parent / "reference_answer").glob("*.jsonl")):
        known.update((r.question_id, list(r.choices[0].turns)) for r in _read(file, _Reference) if r.choices)
    tasks = [_task(q, known.get(q.question_id, q.reference)) for q in _read(questions, _Question)]
    return tasks, _templates(questions.parent)


def _task(question: _Question, reference: list[str]) -> Task:
    compared = question.category in WITH_REFERENCE and len(reference) == len(question.turns)
    data = {"turns": list(question.turns), "reference": reference if compared else [], "category": question.category}
    return Task(question.turns[0], data, f"mt-bench-{question.question_id}", "test")


def _templates(folder: Path) -> dict[str, Template]:
    found = {t.name: t for t in OWN}
    for file in (folder.parent / "judge_prompts.jsonl", folder / "judge_prompts.jsonl"):
        if file.is_file():
            found.update((t.name, t) for t in _read(file, Template) if t.name in found)
    for template in found.values():
        filled(template, ("", ""), ("", ""), ("", ""))
    return found


def filled(template: Template, questions: tuple[str, str], answers: tuple[str, str], reference: tuple[str, str]) -> str:
    """The question to the judge.

    Raises:
        UserError: the template has a placeholder that nobody knows.
    """
    values = {"question": questions[0], "answer": answers[0]}
    for i in (0, 1):
        values |= {f"question_{i + 1}": questions[i], f"answer_{i + 1}": answers[i], f"ref_answer_{i + 1}": reference[i]}
    try:
        return template.prompt_template.format(**values)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"the judge's prompt {template.name} cannot be filled in: {type(error).__name__}: {error}") from error


def _read(file: Path, kind: type[T]) -> list[T]:
    try:
        return [msgspec.json.decode(line, type=kind) for line in file.read_bytes().splitlines() if line.strip()]
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"{file} is not of MT-Bench's layout: {error}") from error
