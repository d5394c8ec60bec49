"""Shell tasks as data: scripts that set up, check and solve them; and rows in the manner of AgentBench's OS tasks."""

import hashlib
import shlex
from typing import Any

import msgspec

from agentgym import Task

from .rows import Row, split_by_hash


class Chore(msgspec.Struct, frozen=True, omit_defaults=True):
    """A shell task; the data of a task. All scripts are for bash and run in the work directory.

    Attributes:
        setup: Makes the files.
        check: Succeeds where the task is solved; its first argument is the answer.
        gold: Solves it; empty where nobody wrote that down.
        answer: The answer; None for what `gold` prints.
    """

    setup: str
    check: str
    gold: str = ""
    answer: str | None = ""


def convert(row: Row, named: str) -> Task:
    """A row in the manner of AgentBench's OS tasks (Liu et al. 2023, arXiv:2308.03688) as a task.

    ==============================  ====================================================================================
    ``description``                 what is asked for
    ``create.init``                 the script that sets up (optional)
    ``evaluation.match``            the answer
    ``evaluation.check``            or scripts, all of which have to succeed: each gets the answer and what the earlier ones
                                    printed as arguments; null stands for the example
    ``evaluation.example``          a script that solves it, or prints the answer (optional)
    ``id``, ``split``, ``labels``   optional; the first label is the difficulty
    ==============================  ====================================================================================

    A script is a text, or an object with ``code`` and ``language`` ("bash" or "python"). Scripts in files of their own, images
    other than the sandbox and programs that run beside (``start``) are refused.

    Raises:
        KeyError, TypeError, ValueError: it is no such row.
    """
    text, evaluation, create = row["description"].strip(), row["evaluation"], row.get("create") or {}
    if row.get("start") or create.get("local", "default") != "default":
        raise ValueError("it needs a program that runs beside, or an image of its own")
    setup, example = _script(create.get("init")), _script(evaluation.get("example"))
    answer: str | None = None
    if "match" in evaluation:
        if not isinstance(evaluation["match"], str | int | float):
            raise ValueError("match is no text: give a check instead")
        answer = str(evaluation["match"])
        check = is_answer(answer)
    else:
        check = _chain([example if script is None else _script(script) for script in evaluation["check"]])
    chore = Chore(setup, check, example, answer)
    identity = f"{text}{setup}{check}"
    labels = row.get("labels") or [""]
    number = row.get("id") or hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
    split = row.get("split") or named or split_by_hash(identity)
    return Task(text, msgspec.to_builtins(chore), str(number), split, str(labels[0]))


def is_answer(answer: str) -> str:
    """A check of the answer alone."""
    return f'[ "$1" = {shlex.quote(answer)} ]'


def _chain(scripts: list[str]) -> str:
    """One check of several; an empty one has to be refused, since nothing would solve it or everything."""
    if not all(scripts) or not scripts:
        raise ValueError("it has no check, or an empty one")
    steps = [f'out=$(bash -c {shlex.quote(script)} check "$@") || exit 1\nset -- "$@" "$out"' for script in scripts]
    return "\n".join(steps)


def _script(script: Any) -> str:
    """A script of a row as one for bash; empty where there is none."""
    if not script or isinstance(script, str):
        return script or ""
    if "code" not in script:
        raise ValueError("a script stands in a file of its own: put its code into the row")
    language = script.get("language", "bash")
    if language == "python":
        return f'python -I -c {shlex.quote(script["code"])} "$@"'
    if language not in ("bash", "sh", "shell"):
        raise ValueError(f"a script in {language!r}: only bash and python are run")
    return str(script["code"])
