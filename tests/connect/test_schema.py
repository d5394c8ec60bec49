"""Tools from JSON schemas: what our own schemas say is held to as it is where they came from, and foreign schemas are taken in."""

from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import Tool, ToolCall, ToolSet
from agentgym.connect.schema import SchemaTool
from agentgym.tools import BadArguments


class Address(pydantic.BaseModel):
    street: str
    number: int = 1
    model_config = pydantic.ConfigDict(extra="forbid")


def typed(
    count: int,
    name: str,
    kind: Literal["a", "b"] = "a",
    many: list[int] | None = None,
    where: Address | None = None,
    share: float = 0.5,
    sure: bool = False,
    more: dict[str, str] | None = None,
) -> None:
    """Do something.

    Args:
        count: How often.
    """


OURS = Tool(typed)
THEIRS = SchemaTool("typed", OURS.description, OURS.schema["function"]["parameters"], lambda **_: "")
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(-9, 9).filter(lambda x: x % 1)
    | st.sampled_from(["a", "x", ""])
)
values = st.recursive(
    scalars,
    lambda i: st.lists(i, max_size=2) | st.dictionaries(st.sampled_from(["street", "number", "k"]), i, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(["count", "name", "kind", "many", "where", "share", "sure", "more", "unknown"])
good = {"count": 1, "name": "x"}


def verdict(tool: Tool, arguments: dict[str, Any]) -> Any:
    try:
        tool.arguments(arguments)
    except BadArguments as wrong:
        return wrong.error
    return None


@settings(max_examples=300)
@given(st.dictionaries(names, values, max_size=3), st.booleans())
def test_a_schema_holds_its_arguments_to_what_the_signature_does(arguments: dict[str, Any], whole: bool) -> None:
    given_ = {**good, **arguments} if whole else arguments
    one, other = verdict(OURS, given_), verdict(THEIRS, given_)
    assert (one is None) == (other is None), (one, other)
    if len(arguments) == 1 and whole and "where" not in arguments:
        assert one == other


def test_a_schema_comes_back_as_it_was() -> None:
    assert THEIRS.schema == OURS.schema
    with_titles = {
        "title": "T",
        "$schema": "x",
        "properties": {"a": {"$ref": "#/definitions/A", "title": "A"}, "title": {"type": "string"}},
    }
    taken = SchemaTool("f", " x ", {**with_titles, "definitions": {"A": {"type": "integer"}}}, lambda **_: "")
    assert taken.schema["function"] == {
        "name": "f",
        "description": "x",
        "parameters": {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A"}, "title": {"type": "string"}},
            "$defs": {"A": {"type": "integer"}},
        },
    }
    assert verdict(taken, {"a": 1, "title": ""}) is None
    assert verdict(taken, {"a": "1"}) == "ill_typed_argument"
    assert verdict(taken, {"b": 1}) == "extra_argument"


def test_additional_properties_are_taken_where_the_schema_says_so() -> None:
    open_ = SchemaTool("f", "", {"type": "object", "additionalProperties": {"type": "integer"}}, lambda **a: str(a))
    assert ToolSet([open_]).call(ToolCall("f", {"x-y": 1})).message.content == "{'x-y': 1}"
    assert verdict(open_, {"x": "1"}) == "ill_typed_argument"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "properties": []},
        {"properties": {"a": {"type": "whole"}}},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"$ref": "#/properties/b"}}},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"properties": {"a": {"$ref": "#/$defs/none"}}, "$defs": {}},
        {"required": "a"},
    ],
)
def test_what_is_no_schema_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"parameters are an object|no JSON schema"):
        SchemaTool("f", "", schema, lambda **_: "")
