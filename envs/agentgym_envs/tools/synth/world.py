"""What an API keeps, and what its operations do to it. Rows are never changed but replaced: copies of a world are cheap."""

import random
from typing import Any

import msgspec

from agentgym import ToolError

from .api import Api

PEOPLE = (
    "Ada", "Bo", "Cleo", "Dina", "Emil", "Freya", "Gil", "Hedda", "Ines", "Jon", "Kaja", "Leo", "Mara", "Nils", "Olga", "Pia",
)  # fmt: skip
RECORDS = 4
Record = dict[str, Any]


class World(msgspec.Struct):
    """Records by id.

    Attributes:
        records: What there is; each record has its owner's `name`, and `amount`, `state` and `flag` under the API's words.
        spare: Ids of records to be made.
    """

    records: dict[str, Record]
    spare: tuple[str, ...]

    def copy(self) -> "World":
        """A world that shares only rows that nobody changes."""
        return World(dict(self.records), self.spare)


def build(spec: Api, seed: int) -> World:
    """A few records; the same for the same seed, on every machine."""
    rng = random.Random(seed)
    ids = [f"{spec.letter}{n}" for n in rng.sample(range(100, 1000), RECORDS + 2)]
    records = {}
    for key, name in zip(ids[:RECORDS], rng.sample(PEOPLE, RECORDS), strict=True):
        values = {spec.amount: rng.randrange(10, 100), spec.state: rng.choice(spec.states), spec.flag: rng.random() < 0.5}
        records[key] = {"name": name, **values}
    return World(records, tuple(ids[RECORDS:]))


def perform(spec: Api, world: World, operation: str, given: dict[str, Any]) -> Any:
    """Carry out an operation and return what it says.

    Args:
        spec: The API.
        world: Changed in place, with all side effects.
        operation: Which one.
        given: Its arguments, by what they mean.

    Raises:
        ToolError: it cannot be done; nothing has changed.
    """
    if operation == "find":
        found = [key for key, r in world.records.items() if r["name"] == given["name"]]
        if not found:
            raise ToolError(f"{given['name'][:40]} has no {spec.noun}")
        return {"id": found[0]}
    if operation == "create":
        return _create(spec, world, given)
    record = _record(spec, world, given["id"])
    if operation == "get":
        return record
    if operation == "delete":
        del world.records[given["id"]]
        return "done"
    if operation == "move":
        return _move(spec, world, given)
    field = {"set_state": spec.state, "set_flag": spec.flag}.get(operation, spec.amount)
    value = record[spec.amount] + given["by"] if operation == "add" else given["value"]
    world.records[given["id"]] = record | {field: value}
    return {field: value} if operation == "add" else "done"


def _create(spec: Api, world: World, given: dict[str, Any]) -> dict[str, str]:
    if any(r["name"] == given["name"] for r in world.records.values()):
        raise ToolError(f"{given['name'][:40]} has a {spec.noun} already")
    if not world.spare:
        raise ToolError(f"there is no room for another {spec.noun}")
    key, *rest = world.spare
    world.spare = tuple(rest)
    world.records[key] = {"name": given["name"], spec.amount: given["value"], spec.state: spec.states[0], spec.flag: False}
    return {"id": key}


def _move(spec: Api, world: World, given: dict[str, Any]) -> Record:
    record, other = world.records[given["id"]], _record(spec, world, given["to"])
    if given["id"] == given["to"]:
        raise ToolError(f"that is the same {spec.noun}")
    if not 0 <= given["by"] <= record[spec.amount]:
        raise ToolError(f"its {spec.amount} is {record[spec.amount]}")
    world.records[given["id"]] = record | {spec.amount: record[spec.amount] - given["by"]}
    world.records[given["to"]] = other | {spec.amount: other[spec.amount] + given["by"]}
    return {spec.amount: record[spec.amount] - given["by"]}


def _record(spec: Api, world: World, key: str) -> Record:
    if key not in world.records:
        raise ToolError(f"there is no {spec.noun} {key[:40]}")
    return world.records[key]
