"""A domain as tau2-bench publishes it: a folder with ``db.json``, ``policy.md``, ``tasks.json`` and ``split_tasks.json``.

Which tools a domain has is code, not data: it is found by the database's tables, whatever the folder is called.
"""

import functools
import importlib
from pathlib import Path
from typing import Any

import msgspec

from agentgym import Task, ToolError, UserError
from agentgym.partners import Card, Line
from agentgym.tasks import SPLITS
from agentgym_envs.code.rows import FILES, split_by_hash

from .airline import Airline
from .domain import Domain, floor
from .mock import Mock, MockUser
from .retail import Retail
from .tables import Base
from .toolkit import Toolkit

AGENTS: tuple[type[Toolkit], ...] = (Retail, Airline, Mock)
USERS: tuple[type[Toolkit], ...] = (MockUser,)
NEEDED = ("db.json", "policy.md", "tasks.json")
_IDENTITY = ("email", "zip", "user id", "name", "verify", "identity", "confirmation number", "reservation id", "who")


class Loaded(msgspec.Struct, frozen=True):
    """A domain with its tasks.

    Attributes:
        domain: The domain.
        tasks: All tasks, each with its split.
        floor: The share of them that doing nothing solves.
    """

    domain: Domain
    tasks: tuple[Task, ...]
    floor: float


def load_domain(folder: str, tools: str | None = None) -> Loaded:
    """Read a domain.

    Args:
        folder: With the published files.
        tools: ``module:Class`` of an agent's `Toolkit`, for domains whose tools are not known here.

    Raises:
        UserError: a file is missing or is of another layout, or nobody knows the domain's tools.
    """
    place = Path(folder)
    if missing := [name for name in NEEDED if not (place / name).is_file()]:
        inner = sorted(f.parent.name for f in place.glob("*/db.json"))
        hint = f"give one of its domains: {', '.join(inner)}" if inner else f"a domain's folder holds {', '.join(NEEDED)}"
        raise UserError(f"{folder} has no {missing[0]}: {hint}")
    files = [place / n for n in (*NEEDED, "split_tasks.json", "user_db.json")]
    stamps = tuple((f, f.stat().st_mtime_ns) for f in files if f.is_file())
    return _load(place, stamps, tools)


@functools.lru_cache(maxsize=4)
def _load(place: Path, stamps: tuple[tuple[Path, int], ...], tools: str | None) -> Loaded:
    base, user_base = _tables(place / "db.json"), _tables(None)
    user_toolkit: type[Toolkit] = Toolkit
    if (place / "user_db.json").is_file():
        user_base = _tables(place / "user_db.json")
        user_toolkit = _known(user_base, USERS, place / "user_db.json")
    toolkit = _named(tools) if tools else _known(base, AGENTS, place / "db.json")
    policy = (place / "policy.md").read_text("utf-8")
    domain = Domain(place.resolve().name, policy, base, toolkit, user_base, user_toolkit)
    tasks = _tasks(place)
    try:
        return Loaded(domain, tasks, floor(domain, tasks))
    except (KeyError, TypeError, AttributeError, ToolError) as error:
        raise UserError(f"the gold actions of {place} do not fit its tools: {type(error).__name__}: {error}") from error


def _tables(file: Path | None) -> Base:
    return _decode(file, dict[str, dict[str, dict[str, Any]]]) if file else {}


def _decode(file: Path, shape: Any) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not of tau2-bench's layout: {error}") from error


def _known(base: Base, toolkits: tuple[type[Toolkit], ...], file: Path) -> type[Toolkit]:
    for toolkit in toolkits:
        if toolkit.tables_of <= base.keys():
            return toolkit
    known = "; ".join(", ".join(sorted(t.tables_of)) for t in toolkits)
    raise UserError(
        f"{file} has the tables {', '.join(base)}, whose tools are not known here (known: {known}): "
        "the published tools are Python code; write them as a Toolkit and name it with tools=MODULE:CLASS"
    )


def _named(name: str) -> type[Toolkit]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"there are no tools {name!r} ({error}): write tools=MODULE:CLASS") from error
    if not (isinstance(found, type) and issubclass(found, Toolkit)):
        raise UserError(f"{name} is no subclass of agentgym_envs.tools.tau.toolkit.Toolkit: make it one")
    return found


# ---- tasks ---------------------------------------------------------------------------------------------------------------


def _tasks(place: Path) -> tuple[Task, ...]:
    rows = _decode(place / "tasks.json", list[dict[str, Any]])
    splits = place / "split_tasks.json"
    assigned: dict[str, str] = {}
    for name, ids in (_decode(splits, dict[str, list[str]]) if splits.is_file() else {}).items():
        if (split := FILES.get(name, name)) in SPLITS:
            assigned |= dict.fromkeys(map(str, ids), split)
    made, seen = [], set[str]()
    for number, row in enumerate(rows):
        try:
            task = make_task(place.resolve().name, row, assigned)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{place}/tasks.json, task {number}: {type(error).__name__}: {error}; is it of this layout?"
            ) from error
        if task.id in seen:
            raise UserError(f"{place}/tasks.json: there is a second task {row['id']!r}: give each an id of its own")
        seen.add(task.id)
        made.append(task)
    if not made:
        raise UserError(f"{place}/tasks.json has no tasks")
    return tuple(made)


def make_task(domain: str, row: dict[str, Any], assigned: dict[str, str]) -> Task:
    """A published task.

    Args:
        domain: Part of the task's id.
        row: As published.
        assigned: Splits by id; a task in none of them belongs to the one that a hash of its id names.
    """
    scenario = row["user_scenario"]
    card = _card(scenario.get("persona"), scenario["instructions"])
    data = {
        "user": msgspec.to_builtins(card),
        "initial": row.get("initial_state") or {},
        "criteria": row.get("evaluation_criteria") or {},
    }
    number = str(row["id"])
    return Task(card.opening, data, f"{domain}-{number}", assigned.get(number) or split_by_hash(number))


def _card(persona: str | None, told: str | dict[str, Any]) -> Card:
    """The user's part. Published instructions speak to a model that plays the user; the script reads them out as they are."""
    if isinstance(told, str):
        return Card(told, persona=persona or "", goal=told)
    known = " ".join(told[k] for k in ("known_info", "unknown_info") if told.get(k))
    rest = told.get("task_instructions") or ""
    lines = ([Line(known, _IDENTITY)] if known else []) + ([Line(rest)] if rest else [])
    parts = {"Why you call": told["reason_for_call"], "What you know": told.get("known_info")}
    parts |= {"What you do not know": told.get("unknown_info"), "How you go about it": rest}
    goal = "\n".join(f"{what}: {text}" for what, text in parts.items() if text)
    return Card(told["reason_for_call"], tuple(lines), persona=persona or "", goal=goal)
