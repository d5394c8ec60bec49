"""Tools from typed functions: signature and docstring become a JSON schema, arguments are validated, mistakes are data.

The schema is our own and has no `return` key: serving engines drop it, so that training and serving prompts would differ.
Arguments are validated strictly, as JSON (`"5"` is no integer): what the schema says is what the agent is held to.
"""

import errno
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import docstring_parser
import msgspec
import pydantic

from agentgym.dialects.base import clean
from agentgym.errors import EnvironmentFailure, ErrorCategory, Failure, NotInstalled, ToolError, UserError
from agentgym.messages import Message, ToolCall

MAX_RESULT_CHARS = 50_000  # longer results are cut and say so: one careless tool must not fill a context window
_MARK = "__agentgym_tool__"
F = TypeVar("F", bound=Callable[..., Any])


def tool(function: F) -> F:
    """Mark a method of an environment as a tool that its agent may call."""
    setattr(function, _MARK, True)
    return function


class BadArguments(Exception):
    """Arguments that do not fit a tool's schema; the text says how to do better.

    Args:
        error: What kind of mistake it is.
        text: What is wrong, for the agent.
    """

    def __init__(self, error: ErrorCategory, text: str) -> None:
        super().__init__(text)
        self.error = error


class ToolResult(msgspec.Struct, frozen=True):
    """What came of one call: the tool message for the agent, and the category of its mistake if it made one."""

    message: Message
    error: ErrorCategory | None = None


class Tool:
    """One function with its schema and its validator.

    Args:
        function: A typed function or method (`self` is left out). Every parameter needs an annotation; the docstring's
            first paragraph becomes the description, its `Args:` section the parameters' descriptions.

    Raises:
        UserError: a parameter has no annotation, takes `*args`, or has a type without JSON schema.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name: str = function.__name__
        doc = docstring_parser.parse(inspect.getdoc(function) or "")
        self.description = (doc.description or "").strip()
        described = {p.arg_name: p.description or "" for p in doc.params}
        self._model = _arguments_model(function, described)
        self._validate = self._model.__pydantic_validator__.validate_json
        self.schema: dict[str, Any] = {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": _parameters(self._model)},
        }

    def arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Validate `arguments` and fill in the defaults.

        Raises:
            BadArguments: they do not fit the signature.
        """
        try:
            return self._validate(msgspec.json.encode(arguments), strict=True).__dict__  # type: ignore[no-any-return]
        except pydantic.ValidationError as error:
            raise _diagnosed(error) from error


class ToolSet:
    """Tools by name, bound to the object whose state they change.

    Args:
        tools: The tools, or plain typed functions.
        owner: Passed to each function as `self`; None for plain functions.
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = (), owner: object | None = None) -> None:
        made = [t if isinstance(t, Tool) else Tool(t) for t in tools]
        self._tools = {t.name: t for t in made}
        self._owner = () if owner is None else (owner,)
        self.schemas: tuple[dict[str, Any], ...] = tuple(t.schema for t in made)
        if len(self._tools) != len(made):
            raise UserError(f"two tools share a name among {[t.name for t in made]}: rename one")

    @classmethod
    def of(cls, owner: object) -> "ToolSet":
        """The methods of `owner` that are marked with `@tool`, in the order of their definition."""
        return cls(tools_of_class(type(owner)), owner)  # type: ignore[arg-type]  # every class is hashable

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Whatever the agent did wrong comes back as a message and a category.

        Raises:
            Failure: the environment itself is broken: the tool says so, or a connection, a time or the memory gave out.
        """
        checked = self._check(call)
        if isinstance(checked, ToolResult):
            return checked
        function, arguments = checked
        try:
            return _result(call, function(*self._owner, **arguments))
        except Exception as error:
            return _refusal(call, error)

    async def acall(self, call: ToolCall) -> ToolResult:
        """The same for tools that may be coroutine functions."""
        checked = self._check(call)
        if isinstance(checked, ToolResult):
            return checked
        function, arguments = checked
        try:
            value = function(*self._owner, **arguments)
            return _result(call, await value if inspect.isawaitable(value) else value)
        except Exception as error:
            return _refusal(call, error)

    def _check(self, call: ToolCall) -> ToolResult | tuple[Callable[..., Any], dict[str, Any]]:
        """The function to be called and its arguments; or what is wrong with the call."""
        if call.arguments is None:
            return _mistake(call, ErrorCategory.MALFORMED_JSON, 'a tool call is one JSON object with "name" and "arguments"')
        found = self._tools.get(call.name)
        if found is None:
            names = ", ".join(self._tools) or "none: answer in text"
            return _mistake(call, ErrorCategory.UNKNOWN_TOOL, f"no tool is named {call.name[:80]!r}; there are {names}")
        try:
            return found.function, found.arguments(call.arguments)
        except BadArguments as wrong:
            return _mistake(call, wrong.error, str(wrong))
        except (TypeError, ValueError, RecursionError, OverflowError) as error:  # no JSON: lone surrogates, huge integers ...
            return _mistake(call, ErrorCategory.MALFORMED_JSON, f"the arguments are no valid JSON: {error}")


@functools.cache
def tools_of_class(cls: type) -> tuple[Tool, ...]:
    """All `@tool` methods of a class, base classes first; built once for each class."""
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        names.update(dict.fromkeys(n for n, f in vars(base).items() if getattr(f, _MARK, False)))
    return tuple(Tool(getattr(cls, n)) for n in names)


def to_json(value: Any) -> str:
    """Any plain value, Struct, dataclass or pydantic model as one line of JSON."""
    return msgspec.json.encode(value, enc_hook=_plain).decode()


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, pydantic.BaseModel) else str(value)


def _arguments_model(function: Callable[..., Any], described: dict[str, str]) -> type[pydantic.BaseModel]:
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        if name not in hints or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise UserError(f"tool {function.__name__}: parameter {name!r} needs a type annotation and a name of its own")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints[name], pydantic.Field(default, description=described.get(name)))
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False)
    try:
        return pydantic.create_model(function.__name__, __config__=config, **fields)
    except pydantic.errors.PydanticSchemaGenerationError as error:
        raise UserError(f"tool {function.__name__}: a parameter's type has no JSON schema ({error.message})") from error


def _parameters(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    schema = _without_titles(model.model_json_schema())
    schema.setdefault("properties", {})
    return {"type": "object"} | {k: schema[k] for k in ("properties", "required", "$defs") if k in schema}


def _without_titles(schema: Any) -> Any:
    # pydantic adds a "title" to every property: noise in a prompt. A parameter that is itself called title is a mapping.
    if isinstance(schema, dict):
        return {k: _without_titles(v) for k, v in schema.items() if not (k == "title" and isinstance(v, str))}
    return [_without_titles(v) for v in schema] if isinstance(schema, list) else schema


def _diagnosed(error: pydantic.ValidationError) -> BadArguments:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    kind = {"missing": ErrorCategory.MISSING_ARGUMENT, "extra_forbidden": ErrorCategory.EXTRA_ARGUMENT}
    return bad_argument(kind.get(first["type"], ErrorCategory.ILL_TYPED_ARGUMENT), first["loc"], first["msg"])


def bad_argument(error: ErrorCategory, path: Iterable[str | int], reason: str) -> BadArguments:
    """What the agent is told of the argument at `path`."""
    where = ".".join(map(str, path))[:80]
    told = {
        ErrorCategory.MISSING_ARGUMENT: f"argument {where!r} is missing",
        ErrorCategory.EXTRA_ARGUMENT: f"there is no argument {where!r}",
    }
    return BadArguments(error, told.get(error, f"argument {where!r}: {reason}"))


# Operating system errors by which an agent's odd path shows; all others (connections, disks, time-outs) are the environment's.
ASKED_WRONGLY = {
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.EPERM,
}


def _result(call: ToolCall, value: Any) -> ToolResult:
    return ToolResult(_answer(call, value if isinstance(value, str) else to_json(value)))


def _refusal(call: ToolCall, error: Exception) -> ToolResult:
    """What the agent is told of an exception in a tool; what is not its doing is raised on."""
    if isinstance(error, Failure | NotInstalled):
        raise error
    if isinstance(error, ToolError):
        return _mistake(call, ErrorCategory.TOOL_ERROR, str(error))
    theirs = isinstance(error, OSError) and error.errno not in ASKED_WRONGLY
    if theirs or isinstance(error, MemoryError):  # what the tool stands on broke, not what it was asked
        raise EnvironmentFailure(f"tool {call.name}: {type(error).__name__}: {error}") from error
    # A tool that chokes on odd input: the agent is told, the episode goes on.
    return _mistake(call, ErrorCategory.TOOL_ERROR, f"{type(error).__name__}: {error}")


def _mistake(call: ToolCall, category: ErrorCategory, text: str) -> ToolResult:
    return ToolResult(_answer(call, f"Error: {text}"), category)


def _answer(call: ToolCall, text: str) -> Message:
    if len(text) > MAX_RESULT_CHARS:
        text = f"{text[:MAX_RESULT_CHARS]} [cut: {len(text)} characters in all]"
    return Message("tool", clean(text), (), call.id, call.name)
