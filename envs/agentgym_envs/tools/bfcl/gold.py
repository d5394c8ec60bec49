"""Calls that match a possible answer, for the gold policy."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentgym import ToolCall

from .languages import spellings
from .rules import Doc, fits, language_of, public_name


def gold_calls(category: str, docs: Sequence[Doc], answers: Sequence[Mapping[str, Any]]) -> list[ToolCall]:
    """One call for each answer; for a category that only asks for some call, one of the first function."""
    if "relevance" in category:
        return [] if "irrelevance" in category else [ToolCall(public_name(docs[0]["name"]), {})]
    language = language_of(category)
    made = []
    for answer in answers:
        name, options = next(iter(answer.items()))
        doc = next((d for d in docs if d["name"] == name), docs[0])
        parameters = doc["parameters"].get("properties", {})
        required = doc["parameters"].get("required", ())
        given = {k: _first(parameters[k], v, language, k in required) for k, v in options.items() if k in parameters}
        made.append(ToolCall(public_name(name), {k: values[0] for k, values in given.items() if values}))
    return made


def _first(parameter: Doc, options: Sequence[Any], language: str, required: bool) -> list[Any]:
    """The first value that fits, alone; nothing to leave the parameter out."""
    named = [o for o in options if o != ""]
    wanted = named + [""] * (required and "" in options)  # an empty text can be the value of a parameter that has to be there
    return [v for v in _values(parameter, wanted, language) if fits(parameter, v, options, language)][:1]


def _values(parameter: Doc, options: Sequence[Any], language: str) -> Iterator[Any]:
    for option in options:
        value = _instance(option) if _is_object(parameter) else option
        if language == "python":
            yield value
        else:
            yield from spellings(language, value, parameter["type"])


def _is_object(parameter: Doc) -> bool:
    """Whether the values of a parameter are objects, whose fields list what is possible in their turn."""
    return parameter["type"] in ("dict", "HashMap") or parameter.get("items", {}).get("type") == "dict"


def _instance(option: Any) -> Any:
    """An object of possible fields with the first value of each; fields that may be left out are left out if nothing else is."""
    if isinstance(option, list):
        return [_instance(o) for o in option]
    if not isinstance(option, dict):
        return option
    filled = {k: next((v for v in allowed if v != ""), None) for k, allowed in option.items()}
    return {k: v for k, v in filled.items() if v is not None}
