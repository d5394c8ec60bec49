"""Schemas come from signatures, arguments are held to them, and every mistake is data."""

import enum
import errno
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jsonschema
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym import EnvironmentFailure, ErrorCategory, Tool, ToolCall, ToolError, ToolSet, UserError, call, tool
from agentgym.errors import NotInstalled
from agentgym.tools import MAX_RESULT_CHARS


class Size(enum.Enum):
    S = "small"
    L = "large"


class Place(pydantic.BaseModel):
    street: str
    number: int = 1


@dataclass
class Point:
    x: float


class Shop:
    """An owner with state."""

    def __init__(self) -> None:
        self.bought: list[Any] = []

    @tool
    def buy(
        self,
        item: str,
        count: Annotated[int, pydantic.Field(ge=1)] = 1,
        size: Size = Size.S,
        paid_by: Literal["card", "cash"] = "card",
        to: Place | None = None,
        tags: list[str] | None = None,
        title: str = "",
    ) -> dict[str, Any]:
        """Buy something.

        A longer text.

        Args:
            item: What to buy.
            count: How many.
        """
        self.bought.append((item, count, size, paid_by, to, tags))
        return {"item": item, "count": count}

    @tool
    def fail(self, how: str) -> str:
        """Fail in some way."""
        errors = {
            "tool": ToolError("not today"),
            "bug": KeyError("oh"),
            "env": EnvironmentFailure("dead"),
            "missing": NotInstalled("no engine"),
            "net": TimeoutError("5 s"),
            "disk": OSError(errno.ENOSPC, "no space left"),
            "library": OSError("a connection error of a library, without a number"),
            "path": FileNotFoundError(errno.ENOENT, "no such file"),
        }
        raise errors[how]

    @tool
    def many(self, n: int) -> str:
        """Much text."""
        return "x" * n

    @tool
    def power(self, base: int, exponent: int) -> int:
        """A number that may be too long to be written."""
        return base**exponent

    @tool
    def shape(self) -> Point:
        """A dataclass."""
        return Point(1.5)

    def hidden(self) -> None:
        """Not a tool."""


class BiggerShop(Shop):
    @tool
    def close(self) -> None:
        """Close it."""


def test_the_schema_says_what_the_signature_says() -> None:
    (schema,) = [t.schema for t in ToolSet.of(Shop()) if t.name == "buy"]
    function = schema["function"]
    assert schema["type"] == "function"
    assert function["description"] == "Buy something.\n\nA longer text."
    assert set(function) == {"name", "description", "parameters"}  # no "return"
    parameters = function["parameters"]
    assert parameters["required"] == ["item"]
    assert parameters["properties"]["item"] == {"type": "string", "description": "What to buy."}
    assert parameters["properties"]["count"] == {"type": "integer", "minimum": 1, "default": 1, "description": "How many."}
    assert "title" in parameters["properties"]  # a parameter's name, not pydantic's title
    assert "title" not in parameters["$defs"]["Place"]
    jsonschema.Draft202012Validator.check_schema(parameters)


def test_tools_are_found_in_the_order_of_definition() -> None:
    assert [t.name for t in ToolSet.of(BiggerShop())] == ["buy", "fail", "many", "power", "shape", "close"]
    assert "hidden" not in ToolSet.of(Shop())
    assert len(ToolSet.of(Shop())) == 5


def test_arguments_arrive_typed() -> None:
    shop = Shop()
    result = ToolSet.of(shop).call(call("buy", item="tea", size="large", to={"street": "Elm Road"}, tags=["a"]))
    assert result.error is None
    assert result.message.content == '{"item":"tea","count":1}'
    assert shop.bought == [("tea", 1, Size.L, "card", Place(street="Elm Road"), ["a"])]
    assert ToolSet.of(shop).call(call("shape")).message.content == '{"x":1.5}'


@pytest.mark.parametrize(
    ("made", "category", "text"),
    [
        (ToolCall("buy", None, raw="{"), ErrorCategory.MALFORMED_JSON, "one JSON object"),
        (call("bye", item="x"), ErrorCategory.UNKNOWN_TOOL, "no tool is named 'bye'; there are buy, fail"),
        (call("buy"), ErrorCategory.MISSING_ARGUMENT, "'item' is missing"),
        (call("buy", item="x", colour="red"), ErrorCategory.EXTRA_ARGUMENT, "no argument 'colour'"),
        (call("buy", item=3), ErrorCategory.ILL_TYPED_ARGUMENT, "'item'"),
        (call("buy", item="x", count="3"), ErrorCategory.ILL_TYPED_ARGUMENT, "'count'"),
        (call("buy", item="x", count=0), ErrorCategory.ILL_TYPED_ARGUMENT, "greater than or equal to 1"),
        (call("buy", item="x", to={"number": 3}), ErrorCategory.MISSING_ARGUMENT, "to.street"),
        (call("buy", item="\ud800"), ErrorCategory.MALFORMED_JSON, "no valid JSON"),
        (call("power", base=10, exponent=5000), ErrorCategory.TOOL_ERROR, "Error"),
        (call("fail", how="tool"), ErrorCategory.TOOL_ERROR, "Error: not today"),
        (call("fail", how="bug"), ErrorCategory.TOOL_ERROR, "KeyError: 'oh'"),
    ],
)
def test_each_mistake_has_its_category_and_says_how_to_mend_it(made: ToolCall, category: ErrorCategory, text: str) -> None:
    shop = Shop()
    result = ToolSet.of(shop).call(made)
    assert result.error is category
    assert text in result.message.content
    assert result.message.role == "tool"
    assert shop.bought == []


def test_the_environments_own_failure_is_no_mistake_of_the_agent() -> None:
    for how in ("env", "net", "disk", "library"):
        with pytest.raises(EnvironmentFailure):
            ToolSet.of(Shop()).call(call("fail", how=how))
    with pytest.raises(NotInstalled):
        ToolSet.of(Shop()).call(call("fail", how="missing"))
    assert ToolSet.of(Shop()).call(call("fail", how="path")).error is ErrorCategory.TOOL_ERROR


def test_long_results_are_cut_and_say_so() -> None:
    content = ToolSet.of(Shop()).call(call("many", n=MAX_RESULT_CHARS + 7)).message.content
    assert content.endswith(f"[cut: {MAX_RESULT_CHARS + 7} characters in all]")


def test_plain_functions_are_tools_too() -> None:
    def double(x: int) -> int:
        """Twice."""
        return 2 * x

    assert ToolSet([double]).call(call("double", x=4)).message.content == "8"
    with pytest.raises(UserError, match="share a name"):
        ToolSet([double, Tool(double)])


def test_what_cannot_be_a_tool_is_refused_with_a_reason() -> None:
    def untyped(x) -> None: ...  # type: ignore[no-untyped-def]
    def starred(*x: int) -> None: ...
    def odd(x: ToolSet) -> None: ...

    for function, message in ((untyped, "'x' needs a type"), (starred, "'x' needs"), (odd, "no JSON schema")):
        with pytest.raises(UserError, match=message):
            Tool(function)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["buy", "fail", "many", "shape", "", "\x00"]), st.none() | st.dictionaries(st.text(), json_values, max_size=4)
)
def test_no_call_ever_raises(name: str, arguments: dict[str, Any] | None) -> None:
    result = ToolSet.of(Shop()).call(ToolCall(name, arguments))
    assert result.message.role == "tool"
