"""The benchmark's files as published: ``BFCL_v4_CATEGORY.json`` (JSON lines), answers beside them in ``possible_answer/``."""

import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agentgym import Task, UserError
from agentgym_envs.code.rows import split_by_hash

Row = dict[str, Any]
CLASSES = {  # of multi-turn tasks, with the file that documents them
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
_NAME = re.compile(r"BFCL_v\d+_(\w+)\.json")
_ELSEWHERE = {
    "memory": "needs conversations to be remembered that other tasks lead",
    "web_search": "searches the live web",
    "format_sensitivity": "is a list of other categories' tasks",
}


def load(data: str) -> tuple[Task, ...]:
    """The tasks of one file, or of all files of a folder that are of a known kind, in an order that mixes them.

    Raises:
        UserError: nothing is there, or a file is of another layout or kind.
    """
    place = Path(data)
    if not place.exists():
        raise UserError(f"there is no file {data}: give a published file or its folder with data=PATH")
    named = (
        [f for f in sorted(place.glob("*.json")) if (c := category_of(f)) and not _elsewhere(c)] if place.is_dir() else [place]
    )
    if not named:
        raise UserError(f"{data} has no files such as BFCL_v4_simple_python.json: give their folder with data=PATH")
    return _load(tuple((f, f.stat().st_mtime_ns) for f in named))


def category_of(file: Path) -> str:
    """The category that a file's name says; empty when it is not named like one."""
    found = _NAME.fullmatch(file.name)
    return found[1] if found else ""


def function_docs(folder: Path, classes: list[str]) -> list[Row]:
    """What the functions of multi-turn classes are, from the folder of a task file.

    Raises:
        UserError: there is no such class, or its file is missing.
    """
    docs = []
    for name in classes:
        if name not in CLASSES:
            raise UserError(f"the class {name} is not known here: there are {', '.join(CLASSES)}")
        file = folder / "multi_turn_func_doc" / f"{CLASSES[name]}.json"
        if not file.is_file():
            raise UserError(f"{file} is missing: the functions of {name} are documented there")
        docs += list(_rows(file))
    return docs


@functools.lru_cache(maxsize=8)
def _load(files: tuple[tuple[Path, int], ...]) -> tuple[Task, ...]:
    tasks: dict[str, Task] = {}
    for file, _ in files:
        category = category_of(file)
        if not category or (why := _elsewhere(category)):
            known = "a category's file is called BFCL_v4_CATEGORY.json" if not category else f"{category} {why}"
            raise UserError(f"{file} cannot be loaded: {known}")
        answers = _answers(file, category)
        for number, row in enumerate(_rows(file)):
            try:
                task = _task(category, row, answers, file.parent)
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                raise UserError(f"{file}, row {number + 1}: {type(error).__name__}: {error}; is it of this layout?") from error
            if tasks.setdefault(task.id, task) is not task:
                raise UserError(f"{file}, row {number + 1}: there is a second task {task.id!r}")
    return tuple(sorted(tasks.values(), key=lambda t: hashlib.blake2b(t.id.encode()).digest()))


def _elsewhere(category: str) -> str:
    return next((why for name, why in _ELSEWHERE.items() if category.startswith(name)), "")


def _answers(file: Path, category: str) -> dict[str, Any]:
    place = file.parent / "possible_answer" / file.name
    if not place.is_file():
        if "relevance" in category:  # nothing is to be called, or anything
            return {}
        raise UserError(f"{place} is missing: the answers to {file.name}")
    return {row["id"]: row["ground_truth"] for row in _rows(place)}


def _task(category: str, row: Row, answers: dict[str, Any], folder: Path) -> Task:
    turns = row["question"]
    gold = answers.get(row["id"], []) if "relevance" in category else answers[row["id"]]
    data: Row = {"category": category, "turns": turns, "gold": gold}
    identity = msgspec.json.encode((turns, row.get("function"))).decode()
    if "involved_classes" in row:
        data |= {"folder": str(folder), "classes": row["involved_classes"], "config": row.get("initial_config", {})}
        data["missed"] = row.get("missed_function", {})
        identity = row["id"].rpartition("_")[2]  # the same number in another category is the same scenario told otherwise
        if len(gold) != len(turns):
            raise KeyError(f"{len(turns)} turns and {len(gold)} answers")
    else:
        data["functions"] = row["function"]
        _check_docs(row["function"])
    prompt = next((m["content"] for m in turns[0] if m["role"] == "user"), "")
    return Task(prompt, data, row["id"], split_by_hash(identity), category)


def _check_docs(docs: list[Row]) -> None:
    for doc in docs:
        for parameter in doc["parameters"].get("properties", {}).values():
            parameter["type"].strip()
        doc["name"].strip()


def _rows(file: Path) -> Iterator[Row]:
    try:
        for line in file.read_bytes().splitlines():
            if line.strip():
                yield msgspec.json.decode(line, type=Row)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no file of JSON lines: {error}") from error
