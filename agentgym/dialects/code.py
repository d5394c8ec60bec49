"""Code as action (CodeAct, Wang et al. 2024, arXiv:2402.01030): calls are written as Python, several in one block.

::

    I need both orders.
    ```python
    get_order(order_id='O12')
    get_order(order_id='O13')
    ```

The code is read, never run: a block holds nothing but calls of tools with named, literal arguments. In the paper it is a program
whose variables and loops an interpreter runs; for that, give the agent an environment with a tool that runs Python in a sandbox.
A turn without a block is an answer.
"""

import ast
import re
import warnings
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any

from agentgym.dialects.base import clean, join_user, split_thought, with_system
from agentgym.messages import Message, ToolCall, number_calls
from agentgym.tools import to_json

_BLOCK = re.compile(r"^```(?:python|py)[ \t]*\n(.*?)(?:^```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_ONLY = "a code block holds only calls of tools with named, literal arguments, such as find(name='a', limit=3)"
_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}
_PROMPT = """You may call these functions:
{tools}
To call some, write a block with nothing but calls, each argument by its name:
```python
name(argument='value')
```
Without a block, what you write is your answer."""


class Code:
    """The code-as-action dialect."""

    name = "code"
    stop: tuple[str, ...] = ()
    mark = ""

    def parse(self, text: str) -> Message:
        """Read thoughts, words and calls; a block that is more than calls makes the turn `malformed`."""
        thinking, text, malformed = split_thought(clean(text))
        blocks = _BLOCK.findall(text)
        if malformed or not blocks:
            return Message("assistant", text.strip(), thinking=thinking, malformed=malformed)
        try:
            calls = [call for block in blocks for call in _calls(block)]
        except ValueError as error:
            return Message("assistant", text.strip(), thinking=thinking, malformed=f"{_ONLY}; {error}")
        return Message("assistant", _BLOCK.sub("", text).strip(), number_calls(tuple(calls)), thinking=thinking)

    def render(self, message: Message) -> str:
        """Write thoughts, then words, then one block."""
        parts = [f"<think>\n{message.thinking}\n</think>\n"] if message.thinking else []
        parts += [message.content] if message.content else []
        parts += ["\n".join(["```python", *map(_write, message.tool_calls), "```"])] if message.tool_calls else []
        return "\n".join(parts)

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """Everything as plain texts; tools are shown as functions, results are told in a user message."""
        out: list[dict[str, Any]] = []
        for m in messages:
            if m.role == "tool":
                out = join_user(out, f"{m.name} returned:\n{m.content}")
            else:
                out.append({"role": m.role, "content": self.render(m) if m.role == "assistant" else m.content})
        if tools:
            out = with_system(out, _PROMPT.format(tools="\n".join(_signature(t["function"]) for t in tools)))
        return out, None

    def call_grammar(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """None: Python has no JSON schema."""


def _calls(block: str) -> list[ToolCall]:
    """The calls in a block.

    Raises:
        ValueError: it holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings
            body = ast.parse(block).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"this is no Python: {getattr(error, 'msg', None) or type(error).__name__}") from error
    if not body:
        raise ValueError("this one is empty")
    return [_call(statement) for statement in body]


def _call(statement: ast.stmt) -> ToolCall:
    written = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(written, ast.Call) or not isinstance(written.func, ast.Name):
        raise ValueError(f"line {statement.lineno} is no call")
    name, given = written.func.id, list(written.args)
    if name == "call_tool" and given:  # for names that are none in Python
        named = _literal(given.pop(0))
        name = named if isinstance(named, str) else ""
    if given:
        raise ValueError(f"line {statement.lineno} has an argument without a name")
    arguments: dict[str, Any] = {}
    for keyword in written.keywords:
        value = _literal(keyword.value)
        if keyword.arg is not None:
            arguments[keyword.arg] = value
        elif isinstance(value, dict):
            arguments |= value
        else:
            raise ValueError(f"line {statement.lineno} has ** before something that is no dict")
    return ToolCall(name, arguments, "", ast.unparse(statement))


def _literal(node: ast.expr) -> Any:
    """The value of an expression that is JSON in Python's words.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and type(_literal(node.operand)) in (int, float):
        return -_literal(node.operand)
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(k, ast.Constant) and isinstance(k.value, str) for k in node.keys):
        return {k.value: _literal(v) for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)}
    raise ValueError(f"line {node.lineno} has an argument that is no literal")


def _write(c: ToolCall) -> str:
    if c.arguments is None:
        return c.raw or "pass"
    named = [f"{k}={v!r}" for k, v in c.arguments.items() if _plain(k)]
    others = {k: v for k, v in c.arguments.items() if not _plain(k)}
    named += [f"**{others!r}"] if others else []
    if _plain(c.name) and c.name != "call_tool":
        return f"{c.name}({', '.join(named)})"
    return f"call_tool({', '.join([repr(c.name), *named])})"


def _plain(word: str) -> bool:
    """Whether Python takes it as a name and leaves it as it is: of other alphabets it makes other letters."""
    return word.isidentifier() and word.isascii() and not iskeyword(word)


def _signature(function: Mapping[str, Any]) -> str:
    """A tool as a Python function without a body."""
    parameters = function["parameters"]
    required = parameters.get("required", ())
    shown = [
        f"{name}: {_type(schema)}" + ("" if name in required else f" = {schema.get('default')!r}")
        for name, schema in parameters.get("properties", {}).items()
    ]
    told = [str(function["description"])] + [
        f"{name}: {schema['description']}"
        for name, schema in parameters.get("properties", {}).items()
        if isinstance(schema, Mapping) and schema.get("description")
    ]
    lines = "\n".join(told).splitlines()
    return "\n".join(
        [
            f"def {function['name']}(*, {', '.join(shown)}):" if shown else f"def {function['name']}():",
            *(f"    # {t}" for t in lines),
        ]
    )


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(_type(s) for s in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return f"list[{_type(schema['items'])}]"
    return _TYPES.get(kind, "Any") if isinstance(kind, str) else to_json(schema)


CODE = Code()
