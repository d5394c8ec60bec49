"""Functions as the benchmark documents them, as tools: their schemas, and what is wrong with a call as such."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym import ErrorCategory, Message, ToolCall, ToolResult, ToolSet

from .rules import Doc, public_name

JSON_TYPES = {
    "integer": "integer", "number": "number", "float": "number", "string": "string", "boolean": "boolean", "bool": "boolean",
    "array": "array", "list": "array", "dict": "object", "object": "object", "tuple": "array", "any": "string",
}  # fmt: skip
_CHECKS: dict[str, Any] = {
    "integer": lambda v: type(v) is int,
    "number": lambda v: type(v) in (int, float),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}


class Documented(ToolSet):
    """Tools that have schemas and no functions; what becomes of a call is up to the environment.

    Args:
        docs: As published.
        language: Of the functions; those of Java and JavaScript take all arguments as texts.
    """

    def __init__(self, docs: Sequence[Doc], language: str = "python") -> None:
        super().__init__()
        self.docs = {public_name(d["name"]): d for d in docs} | {d["name"]: d for d in docs}
        self.schemas = tuple(_schema(d, language) for d in {public_name(d["name"]): d for d in docs}.values())

    def __contains__(self, name: object) -> bool:
        return name in self.docs

    def __len__(self) -> int:
        return len(self.schemas)

    def mistake(self, call: ToolCall) -> tuple[ErrorCategory, str] | None:
        """What is wrong with a call, whatever it was meant for; None when nothing is."""
        if call.arguments is None:
            return ErrorCategory.MALFORMED_JSON, 'a tool call is one JSON object with "name" and "arguments"'
        schema = next((s["function"] for s in self.schemas if s["function"]["name"] == public_name(call.name)), None)
        if schema is None or call.name not in self.docs:
            return ErrorCategory.UNKNOWN_TOOL, f"no tool is named {call.name[:80]!r}"
        properties = schema["parameters"]["properties"]
        for name in schema["parameters"]["required"]:
            if name not in call.arguments:
                return ErrorCategory.MISSING_ARGUMENT, f"argument {name!r} is missing"
        for name, value in call.arguments.items():
            if name not in properties:
                return ErrorCategory.EXTRA_ARGUMENT, f"there is no argument {name[:80]!r}"
            if not _CHECKS[properties[name]["type"]](value):
                return ErrorCategory.ILL_TYPED_ARGUMENT, f"argument {name!r} should be of type {properties[name]['type']}"
        return None


def told(call: ToolCall, text: str, error: ErrorCategory | None = None) -> ToolResult:
    """The answer to a call."""
    return ToolResult(Message("tool", f"Error: {text}" if error else text, (), call.id, call.name), error)


def _schema(doc: Doc, language: str) -> dict[str, Any]:
    parameters = doc["parameters"]
    properties = {k: _parameter(v, language) for k, v in parameters.get("properties", {}).items()}
    known = {"type": "object", "properties": properties, "required": list(parameters.get("required", ()))}
    described = doc.get("description") or doc["name"]
    return {
        "type": "function",
        "function": {"name": public_name(doc["name"]), "description": described, "parameters": known},
    }


def _parameter(parameter: Mapping[str, Any], language: str) -> dict[str, Any]:
    if language == "python":
        return _plain(parameter)  # type: ignore[no-any-return]
    kind, inner = parameter["type"], parameter.get("items", {}).get("type")
    of = f" of {inner}" if inner else ""
    text = f"{parameter.get('description', '')} (a text: source of a value of type {kind}{of})"
    return {"type": "string", "description": text.strip()}


def _plain(schema: Any) -> Any:
    """A published schema as JSON schema: other names of types, and none missing."""
    if not isinstance(schema, Mapping):
        return copy.copy(schema)
    made = {k: v for k, v in schema.items() if k not in ("optional", "required") or isinstance(v, list)}
    kind = schema.get("type")
    made["type"] = JSON_TYPES.get(kind, "string") if isinstance(kind, str) else "string"
    if isinstance(schema.get("properties"), Mapping):
        made["properties"] = {k: _plain(v) for k, v in schema["properties"].items()}
    if "items" in schema:
        made["items"] = _plain(schema["items"])
    return made
