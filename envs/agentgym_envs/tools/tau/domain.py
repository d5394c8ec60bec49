"""What all tasks of a domain share, and what a task is to come to by the benchmark's rules."""

from collections.abc import Sequence
from typing import Any

import msgspec

from agentgym import Task, ToolCall, ToolError, ToolSet

from .tables import Base, Row, Tables, merged
from .toolkit import Toolkit

Changes = dict[str, dict[str, Row]]
PARTS = {"DB": "database", "COMMUNICATE": "communicate", "ACTION": "actions", "ENV_ASSERTION": "assertions"}


class Domain(msgspec.Struct, frozen=True):
    """What all tasks of a domain share.

    Attributes:
        name: Of its folder.
        policy: What the agent is held to.
        base: The database at the beginning.
        toolkit: The agent's tools.
        user_base: The user's own database, empty where there is none.
        user_toolkit: The user's tools.
    """

    name: str
    policy: str
    base: Base
    toolkit: type[Toolkit]
    user_base: Base = {}
    user_toolkit: type[Toolkit] = Toolkit


class World:
    """A domain's two databases and what acts on them, as one task wants them at its beginning.

    Args:
        domain: The domain.
        task: One of its tasks.
        rows: Rows that differ from the domain's, by table and key; None for those of the task's beginning.
        user_rows: The same of the user's database.
    """

    def __init__(self, domain: Domain, task: Task, rows: Changes | None = None, user_rows: Changes | None = None) -> None:
        self.tables, self.user_tables = Tables(domain.base, rows), Tables(domain.user_base, user_rows)
        self._sides = {
            "assistant": domain.toolkit(lambda: self.tables),
            "user": domain.user_toolkit(lambda: self.user_tables),
        }
        if rows is None:
            self._prepare(task.data["initial"])

    @property
    def difference(self) -> tuple[Changes, Changes]:
        """The rows that differ from the domain's: two worlds are equal when these are."""
        return self.tables.difference(), self.user_tables.difference()

    def act(self, actions: Sequence[dict[str, Any]]) -> None:
        """Take published actions; one that is refused changes nothing, as in the benchmark."""
        for action in actions:
            side = self._sides[action.get("requestor", "assistant")]
            ToolSet.of(side).call(ToolCall(action["name"], action["arguments"]))

    def holds(self, assertions: Sequence[dict[str, Any]]) -> bool:
        """Whether published assertions hold; one about something that is not there does not."""
        try:
            return all(bool(self._run(a)) == a.get("assert_value", True) for a in assertions)
        except ToolError:
            return False

    def _prepare(self, initial: dict[str, Any]) -> None:
        wanted = initial.get("initialization_data") or {}
        for side, key in ((self.tables, "agent_data"), (self.user_tables, "user_data")):
            for table, rows in (wanted.get(key) or {}).items():
                for name, update in rows.items():
                    side.put(table, name, merged(side.get(table, name), update))
        for step in initial.get("initialization_actions") or ():
            self._run(step)
        self.act([c for m in initial.get("message_history") or () for c in m.get("tool_calls") or ()])

    def _run(self, step: dict[str, Any]) -> Any:
        return getattr(self._sides[step["env_type"]], step["func_name"])(**step["arguments"])


def goal(domain: Domain, task: Task) -> tuple[Changes, Changes]:
    """What the databases differ in after the gold actions."""
    world = World(domain, task)
    world.act(task.data["criteria"].get("actions") or ())
    return world.difference


def judge(
    task: Task, wanted: tuple[Changes, Changes], world: World, said: Sequence[str], taken: Sequence[int]
) -> dict[str, float]:
    """The parts of the published basis (see the benchmark's `RewardType`), and `solved`: the least of those that count here.

    Without anything in the basis that a program can check, the database counts.

    Args:
        task: The task.
        wanted: Its `goal`.
        world: What came of it.
        said: What the agent said.
        taken: Which gold actions the agent took, by their numbers.
    """
    criteria, gold = task.data["criteria"], agents_actions(task)
    texts = [s.lower().replace(",", "") for s in said]
    parts = {
        "database": world.difference == wanted,
        "communicate": all(any(i.lower() in t for t in texts) for i in criteria.get("communicate_info") or ()),
        "actions": all(any(i == j or _twin(gold[i], gold[j]) for j in taken) for i in range(len(gold))),
        "assertions": world.holds(criteria.get("env_assertions") or ()),
    }
    basis = [PARTS[b] for b in criteria.get("reward_basis") or ("DB", "COMMUNICATE") if b in PARTS] or ["database"]
    return {"solved": float(all(parts[b] for b in basis)), **{name: float(value) for name, value in parts.items()}}


def agents_actions(task: Task) -> list[dict[str, Any]]:
    """The gold actions that are the agent's."""
    return [a for a in task.data["criteria"].get("actions") or () if a.get("requestor", "assistant") == "assistant"]


def newly_taken(task: Task, taken: Sequence[int], made: ToolCall) -> tuple[int, ...]:
    """The numbers of the gold actions that a call of the agent amounts to; of equal ones the first that was not taken yet."""
    gold, new = agents_actions(task), list[int]()
    for i, action in enumerate(gold):
        if i not in taken and _amounts_to(made, action) and not any(_twin(action, gold[j]) for j in new):
            new.append(i)
    return tuple(new)


def floor(domain: Domain, tasks: Sequence[Task]) -> float:
    """The share of tasks that an agent solves which does and says nothing."""
    return sum(judge(t, goal(domain, t), World(domain, t), ("",), ())["solved"] for t in tasks) / len(tasks)


def _twin(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["name"] == other["name"] and one["arguments"] == other["arguments"])


def _amounts_to(made: ToolCall, action: dict[str, Any]) -> bool:
    """Whether a call is this gold action, by the arguments that count: those named, or else all that the call has."""
    arguments, counting = made.arguments or {}, action.get("compare_args")
    keys = arguments.keys() if counting is None else set(counting)
    mine, gold = ({k: v for k, v in x.items() if k in keys} for x in (arguments, action["arguments"]))
    return made.name == action["name"] and (not keys or mine == gold)
