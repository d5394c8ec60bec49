"""Recipes: YAML, read strictly. The shipped ones are the files of `recipes/`, named after their methods.

A recipe says where to play (`stages.base.Defaults`) and what to do (`stages`)::

    env: desk/Orders-v0
    stages:
      - {stage: warmup, tasks: 2000}
      - {stage: collect, tasks: 400, samples: 8}
      - {stage: sft, lr: 1.0e-3}
      - {stage: eval, policies: [warmup, sft]}

What is wrong in one is told in a line, with the key, the place and what was expected. Keys are addressed as people name them:
``sft.lr`` (a stage by its name), ``1.tasks`` (by its number, from 0), ``rounds.collect.samples``, ``env_args.level``; so it is in
errors, and on the command line (``--set sft.lr=1e-4``). A stage that is set to null is left out.
"""

import difflib
import itertools
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, get_args

import docstring_parser
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from agentgym import UserError

from . import placed
from .placed import Placed
from .rehearsal import missing
from .stages import STAGES, Defaults, Rounds, Step, named, names_of

SHIPPED = files("agentgym_training") / "recipes"


class Recipe(Defaults):
    """What to do, stage by stage.

    Attributes:
        stages: In their order.
    """

    stages: Annotated[tuple[Step, ...], BeforeValidator(named)] = Field(min_length=1)


def shipped() -> dict[str, str]:
    """The texts of the shipped recipes by name."""
    found = sorted((f for f in SHIPPED.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return {f.name.removesuffix(".yaml"): f.read_text("utf-8") for f in found}


def about(text: str) -> str:
    """The first sentence of a recipe's opening comment, which says whose it is."""
    comment = " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    return re.split(r"(?<=\.)\s+(?=[A-Z])", comment)[0]


def text_of(name: str) -> str:
    """The text of a shipped recipe, or of a YAML file.

    Raises:
        UserError: there is none.
    """
    known = shipped()
    if name in known:
        return known[name]
    if not Path(name).is_file():
        raise UserError(f"there is no recipe {name!r}: give a YAML file, or one of {', '.join(known)}{_near(name, known)}")
    return Path(name).read_text("utf-8")


def load_recipe(name: str, changes: Sequence[str] = (), seed: int | None = None) -> Recipe:
    """A shipped recipe by its name, or one from a YAML file.

    Args:
        name: Of the recipe or the file.
        changes: As for ``--set``: ``ADDRESS=VALUE``, the value being YAML.
        seed: Instead of the recipe's.

    Raises:
        UserError: there is none, it is no YAML, or a key or value is wrong.
    """
    text = text_of(name)
    try:
        data = placed.read(text)
        if not isinstance(data, Placed):
            raise UserError("this is no mapping of keys to values: see `agentgym recipe show agent-q`")
        for change in changes:
            _set(data, change)
        if seed is not None:
            data.put("seed", seed, "--seed")
        recipe = Recipe.model_validate(data)
    except UserError as error:
        raise UserError(f"recipe {name}: {error}") from error
    except ValidationError as error:
        raise UserError(f"recipe {name}, {_told(data, error)}") from error
    for keys, missed in missing(recipe, recipe.stages):
        raise UserError(f"recipe {name}, {placed.place_of(data, keys)}, {_address(data, keys)}: {missed}")
    return recipe


# ---- changes -----------------------------------------------------------------------------------------------------------


def _set(data: Placed, change: str) -> None:
    """Carry out ``ADDRESS=VALUE``.

    Raises:
        UserError: it is none, or leads nowhere.
    """
    address, equals, text = change.partition("=")
    if not equals or not all(parts := address.split(".")):
        raise UserError(f"--set {change!r} sets nothing: write ADDRESS=VALUE, as in --set sft.lr=1e-4")
    value, place = placed.read(text), f"--set {change}"
    at: Any = data
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        stages = _steps(at)
        if (number := _number(stages, part)) is not None:
            if not last:
                at = stages[number]
            elif value is None:
                del stages[number]
            else:
                raise UserError(
                    f"{place}: {part} is a stage: set one of its keys, as in {address}.tasks=10, or null to leave it out"
                )
            continue
        _known(at, part, parts[:i], place)
        if last:
            at.put(part, value, place)
        else:
            if at.get(part) is None:
                at.put(part, Placed(place), place)
            at = at[part]


def _steps(at: Any) -> list[Any]:
    """The stages of a recipe, or of rounds; none of anything else."""
    stages = at.get("stages") if isinstance(at, Placed) and at.get("stage", "rounds") == "rounds" else None
    return stages if isinstance(stages, list) else []


def _number(stages: list[Any], part: str) -> int | None:
    """Of the stage with this name or number."""
    names = names_of(stages)
    if part in names:
        return names.index(part)
    return int(part) if part.isdigit() and int(part) < len(stages) else None


def _known(at: Any, part: str, before: Sequence[str], place: str) -> None:
    """Raises a `UserError` if nothing can be set here by this name; what a stage knows, its model says later."""
    if not isinstance(at, Placed):
        raise UserError(f"{place}: {'.'.join(before)} has no parts to be set")
    kind = Rounds if before else Recipe
    if (stages := _steps(at)) and part not in kind.model_fields:
        there = [*names_of(stages), *kind.model_fields]
        where = f"{'.'.join(before)} has" if before else "there is"
        raise UserError(f"{place}: {where} no {part!r}, but {', '.join(there)}{_near(part, there)}")


# ---- errors ------------------------------------------------------------------------------------------------------------


def _told(data: Placed, error: ValidationError) -> str:
    """The first error in a line: key, place, what was expected, and how many more there are."""
    errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # a key misspelt is a key missing too
    first, more = errors[0], len(errors) - 1
    keys = first["loc"]
    place, address = placed.place_of(data, keys), _address(data, keys)
    if first["type"] == "extra_forbidden":
        known = list(_fields(keys[:-1]))
        text = f"there is no such key{_near(str(keys[-1]), known)} (it has {', '.join(known)})"
    elif first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        given = str(first.get("ctx", {}).get("tag", ""))
        said = f"there is no stage {given!r}" if given else "a stage says which it is"
        text = f"{said}: give `stage:` one of {', '.join(STAGES)}{_near(given, STAGES)}"
    elif first["type"] == "missing":
        text = "this key is missing"
    else:
        given = "null" if first["input"] is None else repr(first["input"])
        shown = f", not {given}" if isinstance(first["input"], str | int | float | bool | None) else ""
        text = first["msg"].removeprefix("Value error, ") + ("" if first["type"] == "value_error" else shown)
        text = text.replace("valid tuple", "list").replace("valid dictionary", "mapping")
    return f"{place}, {address or 'the recipe'}: {text}" + (f" (and {more} more)" if more else "")


def _address(data: Any, keys: Sequence[Any]) -> str:
    """Keys as people write them: stages by name."""
    parts: list[str] = []
    for key in keys:
        if isinstance(data, list) and isinstance(key, int):
            name = names_of(data)[key] if parts[-1] == "stages" else ""
            parts = [*parts[:-1], name] if name else [*parts, str(key)]
            data = data[key]
        elif isinstance(data, dict) and key not in data and key in STAGES and data.get("stage") == key:
            continue  # pydantic names the kind of a stage too
        else:
            parts.append(str(key))
            data = data.get(key) if isinstance(data, dict) else None
    return ".".join(parts)


def _fields(keys: Sequence[Any]) -> Sequence[str]:
    """The keys that are known at a place, for which the models are walked."""
    kind: Any = Recipe
    for key in keys:
        fields = getattr(kind, "model_fields", {})
        if key in fields:
            kind = _model(fields[key].annotation)
        elif key in STAGES:
            kind = STAGES[str(key)]
    return list(getattr(kind, "model_fields", {}))


def _model(annotation: Any) -> Any:
    """The model in an annotation; None where there are several, or none."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    found = [m for m in map(_model, get_args(annotation)) if m is not None]
    return found[0] if len(found) == 1 else None


def _near(name: str, known: Any) -> str:
    return "".join(f"; did you mean {match}?" for match in difflib.get_close_matches(name, list(known), 1))


# ---- for editors -------------------------------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """The JSON schema of recipes, with what the docstrings say of each key."""
    made = Recipe.model_json_schema()
    kinds: list[type[BaseModel]] = [Recipe, *STAGES.values()]
    for kind in kinds:
        about = made if kind is Recipe else made["$defs"][kind.__name__]
        for base in reversed(kind.__mro__):
            for told in docstring_parser.parse(base.__doc__ or "").params:
                if told.arg_name in about["properties"]:
                    about["properties"][told.arg_name]["description"] = " ".join((told.description or "").split())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
