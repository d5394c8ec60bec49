"""Actions for tests of environments: random ones that fit the tools, and hostile ones that fit nothing."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentgym.env import Action
from agentgym.messages import Message, ToolCall, assistant, call

_HUGE = "x" * 1_000_000
_DEEP = "[" * 3000 + "]" * 3000
_NESTED: list[Any] = []
for _ in range(50):
    _NESTED = [_NESTED]
_UNICODE = "\0 \u202e n\u0303 \U0001f469\u200d\U0001f467 \u6f22\u5b57"
_SURROGATE = "\ud800"
_BAD_VALUES: tuple[Any, ...] = ("", _HUGE, _UNICODE, _SURROGATE, -1, 10**400, float("nan"), 1.5, None, True, _NESTED, {"": {}})


def random_action(tools: Sequence[Mapping[str, Any]], rng: random.Random) -> Message:
    """A call of a random tool with arguments that fit its schema; one time in five, or without tools, a short answer."""
    if not tools or rng.random() < 0.2:
        return assistant(_word(rng))
    function = rng.choice(tools)["function"]
    return assistant("", call(function["name"], **_value(function["parameters"], rng, function["parameters"])))


def hostile_texts() -> Iterator[Action]:
    """Answers and broken tool calls as a confused or malicious agent might write them."""
    yield from ("", " ", "\0", _UNICODE, _SURROGATE, _HUGE)
    yield from (assistant(_SURROGATE), assistant(_UNICODE), assistant(_HUGE), Message("assistant", malformed="unreadable"))
    for body in ("", "{", "null", "[]", '{"name": 7}', '{"name": "x", "arguments": 1}', _DEEP, _SURROGATE):
        yield f"<tool_call>{body}</tool_call>"
        yield f"Action: x\nAction Input: {body}"
        yield assistant("", ToolCall("x", None, raw=body))
    yield "<tool_call>" * 1000
    yield "<think>" * 1000


def hostile_calls(tools: Sequence[Mapping[str, Any]]) -> Iterator[Action]:
    """Calls of unknown tools, of known ones with wrong arguments, and of too many at once."""
    rng = random.Random(0)
    yield assistant("", call("no_such_tool"))
    yield assistant("", call(_SURROGATE, **{_SURROGATE: 1}))
    yield assistant("", *[call("no_such_tool")] * 100)
    for function in (t["function"] for t in tools):
        name, parameters = function["name"], function["parameters"]
        for value in _BAD_VALUES:
            yield assistant("", ToolCall(name, dict.fromkeys(parameters["properties"], value)))
        good = _value(parameters, rng, parameters)
        yield assistant("", ToolCall(name, None, raw="{"))
        yield assistant("", ToolCall(name, {}))
        yield assistant("", ToolCall(name, good | {"no_such_argument": 1}))
        yield assistant("", *[ToolCall(name, good)] * 100)


def _value(schema: Mapping[str, Any], rng: random.Random, root: Mapping[str, Any], depth: int = 0) -> Any:
    """A random value for a JSON schema; `root` holds the `$defs`, `depth` ends schemas that contain themselves."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "anyOf" in schema:
        return _value(rng.choice(schema["anyOf"]), rng, root, depth + 1)
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {}) if depth < 5 else {}
        return {name: _value(inner, rng, root, depth + 1) for name, inner in properties.items()}
    if kind == "array":
        length = rng.randrange(3) if depth < 5 else 0
        return [_value(schema.get("items", {}), rng, root, depth + 1) for _ in range(length)]
    plain = {"integer": rng.randrange(100), "number": rng.uniform(0, 100), "boolean": rng.random() < 0.5, "null": None}
    return plain[kind] if kind in plain else _word(rng)


def _word(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghij 0123456789", k=rng.randrange(1, 10)))
