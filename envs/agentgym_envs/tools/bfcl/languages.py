"""Java's and JavaScript's values as text, as the benchmark reads them, and how a value is written so that it reads it back.

Functions of these languages take every argument as a string of source text. It is read by patterns; what fits none of them stays
text, and text is never run.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

JAVA = {
    "byte": int, "short": int, "integer": int, "long": int, "float": float, "double": float, "boolean": bool, "char": str,
    "Array": list, "ArrayList": list, "Set": set, "HashMap": dict, "Hashtable": dict, "Queue": list, "Stack": list,
    "String": str, "any": str,
}  # fmt: skip
JAVASCRIPT = {
    "String": str, "integer": int, "float": float, "Bigint": int, "Boolean": bool, "dict": dict, "array": list, "any": str,
}  # fmt: skip
COLLECTIONS = ("Array", "ArrayList", "array")  # whose elements have a type of their own

_INTEGER = r"-?\d+"
_JAVA_REAL = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_REAL = r"-?\d+(?:\.\d+)?"
# How a number's text has to look, and how many characters at its end are a suffix.
_NUMBERS: dict[tuple[str, str], tuple[str, type, int]] = {
    ("java", "byte"): (_INTEGER, int, 0),
    ("java", "short"): (_INTEGER, int, 0),
    ("java", "integer"): (_INTEGER, int, 0),
    ("java", "long"): (_INTEGER + "[lL]", int, 1),
    ("java", "float"): (_JAVA_REAL + "[fF]", float, 1),
    ("java", "double"): (_JAVA_REAL, float, 0),
    ("javascript", "integer"): (_INTEGER, int, 0),
    ("javascript", "Bigint"): (_INTEGER + "n", int, 1),
    ("javascript", "float"): (_REAL, float, 0),
}


def read(language: str, text: str, kind: str, inner: str | None = None) -> Any:
    """The value that `text` spells; the text itself where it does not fit its type.

    Args:
        language: "java" or "javascript".
        text: Source text.
        kind: Its type.
        inner: The type of a collection's elements.
    """
    if (language, kind) in _NUMBERS:
        pattern, make, suffix = _NUMBERS[language, kind]
        return make(text[: len(text) - suffix]) if re.fullmatch(pattern, text) else text
    if kind in ("boolean", "Boolean"):
        return {"true": True, "false": False}.get(text, text)
    if language == "java":
        reader: Callable[[str, str | None], Any] | None = {"Array": _array, "ArrayList": _array_list, "HashMap": _hash_map}.get(
            kind
        )
        return reader(text, inner) if reader else text
    if kind == "String":
        return _unquoted(text)
    return {"array": _js_array, "dict": _js_object}[kind](text.strip(), inner) if kind in ("array", "dict") else text


# ---- Java ------------------------------------------------------------------------------------------------------------------


def _array(text: str, inner: str | None) -> Any:
    found = re.search(r"new\s+\w+\[\]\s*\{(.*?)\}", text)
    if not found:
        return text
    parts = [p.strip() for p in found[1].split(",") if p.strip()]
    return [read("java", p, inner) if inner else _java_value(p) for p in parts]


def _array_list(text: str, inner: str | None) -> Any:
    if found := re.search(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)", text):
        parts = found[1].split(",")
    elif found := re.search(r"new\s+ArrayList<\w*>\(\)\s*\{\{\s*(.+?)\s*\}\}", text, re.DOTALL):
        parts = re.findall(r"add\((.+?)\)", found[1])
    else:
        return [] if re.search(r"new\s+ArrayList<\w*>\(\)", text) else text
    parts = [p.strip() for p in parts]
    if inner in ("char", "String"):
        return [p[1:-1] for p in parts]
    return [read("java", p, inner) if inner else _java_value(p) for p in parts]


def _hash_map(text: str, inner: str | None) -> Any:
    if found := re.search(r"new\s+HashMap<.*?>\s*\(\)\s*\{\s*\{?\s*(.*?)\s*\}?\s*\}", text, re.DOTALL):
        return {k: _java_value(v.strip()) for k, v in re.findall(r"put\(\"(.*?)\",\s*(.*?)\)", found[1])}
    return {} if re.search(r"new\s+HashMap<.*?>\s*\(\)", text) else text


def _java_value(text: str) -> Any:
    """A value whose type nobody says."""
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1]
    if re.fullmatch(_INTEGER + "[lL]", text):
        return int(text[:-1])
    if re.fullmatch(_JAVA_REAL + "[fF]", text):
        return float(text[:-1])
    return _plain(text)


def _plain(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for make in (int, float):
        try:
            return make(text)
        except ValueError:
            continue
    return text


# ---- JavaScript --------------------------------------------------------------------------------------------------------------


def _unquoted(text: str) -> str:
    quoted = len(text) > 0 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _js_value(text: str) -> Any:
    text = text.strip()
    return text[1:-1] if text and text[0] == text[-1] and text[0] in "\"'" else _plain(text)


def _js_array(text: str, inner: str | None) -> Any:
    rows = r"\[\s*\[.*?\]\s*(,\s*\[.*?\]\s*)*\]|\bnew\s+Array\(\s*\[.*?\]\s*(,\s*\[.*?\]\s*)*\)"
    if found := re.match(rows, text):
        inside = [r.strip() for r in re.findall(r"\[(.*?)\]", found[0])]
        inside[:1] = [r.removeprefix("[") for r in inside[:1]]
        return [[_js_value(e) for e in r.split(",")] for r in inside]
    found = re.match(r"\[(.*?)\]|\bnew\s+Array\((.*?)\)", text)
    if not found:
        return text
    listed = (found[1] if found[1] is not None else found[2]).strip()
    parts = [p.strip() for p in listed.split(",")] if listed else []
    if inner and inner not in JAVASCRIPT:
        return text
    return [read("javascript", p, inner) if inner else _js_value(p) for p in parts]


def _js_object(text: str, inner: str | None) -> Any:
    found = None if text == "{}" else re.match(r"\{(.*?)\}", text)
    if not found:
        return {} if text == "{}" else text
    made: dict[str, Any] = {}
    for key, value in re.findall(r"([^:]+):\s*(.*?)(?:,\s*(?=[^,]+:)|$)", found[1]):
        key, value = key.strip().strip("'\""), value.strip()
        if value.startswith("[") and value.endswith("]"):
            made[key] = _js_array(value, None)
        elif value.startswith("{") and value.endswith("}"):
            made[key] = _js_object(value, None)
        else:
            made[key] = _js_value(value.strip("'\""))
    return made


# ---- writing -----------------------------------------------------------------------------------------------------------------


def spellings(language: str, value: Any, kind: str) -> Iterator[str]:
    """Source texts that may spell `value`; which of them does, reading tells."""
    yield from _java(value, kind) if language == "java" else _javascript(value, kind)
    yield value if isinstance(value, str) else json.dumps(value)


def _java(value: Any, kind: str) -> Iterator[str]:
    if isinstance(value, list):
        if not value:
            yield "new ArrayList<>()"
        for write in (_java_literal, "{}L".format, "{}f".format, str):
            elements = ", ".join(map(write, value))
            yield f"new ArrayList<>(Arrays.asList({elements}))"
            yield f"new Object[]{{{elements}}}"
    elif isinstance(value, dict):
        puts = " ".join(f'put("{k}", {_java_literal(v)});' for k, v in value.items())
        yield f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    elif isinstance(value, int | float):
        yield {"long": f"{value}L", "float": f"{value}f"}.get(kind, json.dumps(value))


def _java_literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _javascript(value: Any, kind: str) -> Iterator[str]:
    if isinstance(value, list):
        yield f"[{', '.join(_js_literal(v) for v in value)}]"
    elif isinstance(value, dict):
        yield f"{{{', '.join(f'{k}: {_js_literal(v)}' for k, v in value.items())}}}"
    elif isinstance(value, int) and kind == "Bigint":
        yield f"{value}n"


def _js_literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_js_literal(v) for v in value)}]"
    return json.dumps(value, ensure_ascii=False)
