"""The benchmark's rules for calls of one turn ("AST" checks, Patil et al. 2025, ICML): do calls match the possible answers?

Written anew after the published checker, whose judgements are kept, odd ones too; a test compares them call by call where the
benchmark's package is installed. What the published checker breaks on (an answer of a shape that it does not expect) is no match.

A possible answer lists for each parameter the values that are right; the empty string among them says that the parameter may be
left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .languages import COLLECTIONS, JAVA, JAVASCRIPT, read

Doc = Mapping[str, Any]  # a function as the benchmark documents it
Call = tuple[str, Mapping[str, Any]]  # name and arguments

PYTHON: dict[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict, "any": str,
}  # fmt: skip
TYPES: dict[str, Mapping[str, type]] = {"python": PYTHON, "java": JAVA, "javascript": JAVASCRIPT}


def language_of(category: str) -> str:
    """The language of a category's functions."""
    return "javascript" if "javascript" in category else "java" if "java" in category else "python"


def public_name(name: str) -> str:
    """A function's name as APIs allow it: they know no dots."""
    return name.replace(".", "_")


def judge(category: str, docs: Sequence[Doc], calls: Sequence[Call], answers: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with the calls of a turn; empty when nothing is.

    Args:
        category: "simple_python", "live_parallel_multiple", "irrelevance" ...
        docs: The functions that there are.
        calls: What was called, with names as in `docs` or as `public_name` makes them.
        answers: The possible answers: for each call a name and the values of its parameters.
    """
    if "irrelevance" in category:
        return "a function was called where none is relevant" if calls else ""
    if "relevance" in category:
        return "" if calls else "no function was called"
    if len(calls) != len(answers):
        return f"{len(calls)} functions were called, not {len(answers)}"
    language = language_of(category)
    if "parallel" in category:
        return _unordered(docs, calls, answers, language)
    doc = docs[0] if "multiple" not in category else _doc_of(docs, answers[0])
    return mismatch(doc, calls[0], answers[0], language)


def _unordered(docs: Sequence[Doc], calls: Sequence[Call], answers: Sequence[Mapping[str, Any]], language: str) -> str:
    """In any order: each answer takes the first call left that matches it."""
    left = list(calls)
    for answer in answers:
        found = next((c for c in left if not mismatch(_doc_of(docs, answer), c, answer, language)), None)
        if found is None:
            return f"no call matches {next(iter(answer))}"
        left.remove(found)
    return ""


def _doc_of(docs: Sequence[Doc], answer: Mapping[str, Any]) -> Doc:
    wanted = next(iter(answer))
    return next((d for d in docs if d["name"] == wanted), {"name": wanted, "parameters": {}})


def mismatch(doc: Doc, made: Call, answer: Mapping[str, Any], language: str) -> str:
    """What keeps a call from matching a possible answer; empty when it matches."""
    options: Mapping[str, Any] = next(iter(answer.values()))
    name, arguments = made
    if name not in (doc["name"], public_name(doc["name"])):
        return f"{name} was called, not {doc['name']}"
    parameters = doc["parameters"].get("properties", {})
    for required in doc["parameters"].get("required", ()):
        if required not in arguments:
            return f"the required parameter {required} is missing"
    for key, value in arguments.items():
        if key not in parameters or key not in options:
            return f"the parameter {key} is not expected"
        if not fits(parameters[key], value, options[key], language):
            return f"the parameter {key} has a wrong type or value"
    for key, allowed in options.items():
        if key not in arguments and "" not in allowed:
            return f"the parameter {key} is missing"
    return ""


def fits(parameter: Doc, value: Any, options: Sequence[Any], language: str) -> bool:
    """Whether an argument has the right type and one of the right values."""
    kind = parameter["type"]
    expected = TYPES[language].get(kind)
    if expected is None:
        return False
    inner_kind = parameter.get("items", {}).get("type") if kind in (*COLLECTIONS, "tuple") else None
    inner = TYPES[language].get(inner_kind) if inner_kind else None
    if language != "python":
        if not isinstance(value, str):
            return False
        value = read(language, value, kind, inner_kind)
    elif kind == "float" and type(value) is int:
        value = float(value)
    elements: Any = value
    named = _type_of(options)  # a variable's name may stand for a value of another type: answers then say so by theirs
    if type(value) is expected:
        variable = named is not None and named is not expected
        if inner is not None and not _elements_fit(elements, options, inner):
            return False
    elif named is not None and type(value) is named:
        variable = True
    else:
        return False
    try:
        return value in options if variable else _value_fits(value, options, expected, inner)
    except (AttributeError, TypeError, KeyError, IndexError):
        return False


def _type_of(options: Sequence[Any]) -> type | None:
    return next((type(o) for o in options if not (isinstance(o, str) and o == "")), None)


def _elements_fit(value: Sequence[Any], options: Sequence[Any], inner: type) -> bool:
    """Whether, for some option, each element has the right type; only one level deep, as published."""

    def fit(item: Any, option: Sequence[Any]) -> bool:
        return type(item) in (inner, _type_of(option))

    return any(not isinstance(o, list) or all(fit(item, o) for item in value) for o in options)


def _value_fits(value: Any, options: Sequence[Any], expected: type, inner: type | None) -> bool:
    if expected is dict:
        return any(_dict_fits(value, o) for o in options if o != "")
    if expected is list and inner is dict:
        return any(len(value) == len(o) and all(map(_dict_fits, value, o)) for o in options)
    if expected is str:
        return standard(value) in [standard(o) for o in options if isinstance(o, str)]
    if expected is list:
        return [standard(v) for v in value] in [[standard(v) for v in o] for o in options]
    return value in options


def _dict_fits(value: Mapping[str, Any], option: Mapping[str, Any]) -> bool:
    if any(k not in option or standard(v) not in [standard(o) for o in option[k]] for k, v in value.items()):
        return False
    return all(k in value or "" in allowed for k, allowed in option.items())


def standard(value: Any) -> Any:
    """Texts without case, blanks and light punctuation, and with one kind of quotes; everything else as it is."""
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"') if isinstance(value, str) else value
