"""Tools that are described by a JSON schema instead of a Python signature: those of servers and documents."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
import msgspec
from jsonschema.validators import validator_for

from agentgym.errors import ErrorCategory
from agentgym.tools import BadArguments, Tool, bad_argument

_NAME = re.compile(r"[\w.-]{1,128}")
_MISTAKES = {"required": ErrorCategory.MISSING_ARGUMENT, "additionalProperties": ErrorCategory.EXTRA_ARGUMENT}


class SchemaTool(Tool):
    """A tool whose arguments are held to a JSON schema.

    Arguments that the schema does not name are refused unless it allows them by name (``additionalProperties``): the
    specification would let them pass, but nobody would read them.

    Args:
        name: The tool's name.
        description: What it does.
        parameters: JSON schema of an object, in any draft; it has to stand on its own.
        function: Called with the arguments by name; may be a coroutine function.

    Raises:
        ValueError: that is no such schema, or no name that a model could write.
    """

    def __init__(self, name: str, description: str, parameters: Mapping[str, Any], function: Callable[..., Any]) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is no name for a tool: use letters, digits, _, . and -")
        self.name, self.description, self.function = name, inspect.cleandoc(description).strip(), function
        closed = _closed(parameters)
        kind = validator_for(parameters, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(closed)
            _check_references(closed)
        except (jsonschema.SchemaError, ValueError, TypeError, RecursionError, re.error) as error:
            told = error.message if isinstance(error, jsonschema.SchemaError) else error
            raise ValueError(f"the parameters of tool {name!r} are no JSON schema: {told}") from error
        self._validator = kind(closed)
        shown = {k: closed[k] for k in ("properties", "required", "$defs") if k in closed}
        self.schema = {
            "type": "function",
            "function": {"name": name, "description": self.description, "parameters": {"type": "object"} | shown},
        }

    def arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Validate `arguments`; nothing is filled in, since defaults are the server's business.

        Raises:
            BadArguments: they do not fit the schema.
        """
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(arguments))
        wrong = min(self._validator.iter_errors(plain), key=_weight, default=None)
        if wrong is None:
            return plain
        raise _diagnosed(wrong)


def _weight(error: jsonschema.ValidationError) -> tuple[bool, bool, int]:
    """Missing arguments are told of first, then unknown ones, then those nearest to the root."""
    return error.validator != "required", error.validator != "additionalProperties", len(error.absolute_path)


def _diagnosed(error: jsonschema.ValidationError) -> BadArguments:
    category = _MISTAKES.get(str(error.validator), ErrorCategory.ILL_TYPED_ARGUMENT)
    path = list(error.absolute_path)
    if error.validator == "required":
        path += [name for name in error.validator_value if name not in error.instance][:1]
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        path += [name for name in error.instance if name not in error.schema.get("properties", {})][:1]
    return bad_argument(category, path, error.message[:200])


def _closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in the form that ours have: definitions in ``$defs``, no titles, closed to further properties.

    Raises:
        ValueError: it is none of an object.
    """
    schema: dict[str, Any] = _renamed(dict(parameters))
    if schema.get("type", "object") != "object" or not isinstance(schema.get("properties", {}), dict):
        raise ValueError("a tool's parameters are an object with properties")
    definitions = {**schema.pop("definitions", {}), **schema.pop("$defs", {})}
    closed = {"type": "object", "properties": {}, "additionalProperties": False, **schema}
    return closed | ({"$defs": definitions} if definitions else {})


def _renamed(value: Any) -> Any:
    """References to ``definitions`` point to ``$defs``; titles and the draft's address, noise in a prompt, are left out."""
    if isinstance(value, dict):
        kept = {k: _renamed(v) for k, v in value.items() if not (k in ("title", "$schema", "$id") and isinstance(v, str))}
        if isinstance(reference := kept.get("$ref"), str):
            kept["$ref"] = reference.replace("#/definitions/", "#/$defs/")
        return kept
    return [_renamed(v) for v in value] if isinstance(value, list) else value


def _check_references(schema: dict[str, Any]) -> None:
    """Every reference leads somewhere inside of the schema, and every pattern is one that Python knows.

    Raises:
        ValueError: one does not.
        re.error: a pattern is none.
    """
    for key, value in _pairs(schema):
        if key == "$ref" and isinstance(value, str):
            start, _, name = value.rpartition("/")
            if start != "#/$defs" or name not in schema.get("$defs", {}):
                raise ValueError(f"it refers to {value[:80]!r}, which is not in it")
        if key == "pattern" and isinstance(value, str):
            re.compile(value)


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)
