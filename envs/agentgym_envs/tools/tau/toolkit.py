"""What the tools of all domains share."""

import ast
import operator
from collections.abc import Callable
from typing import Any

from agentgym import ToolError, tool

from .tables import Row, Tables

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_LARGEST = 1e18  # of any number on the way: powers would take for ever


class Toolkit:
    """The tools of one side (agent or user) of a domain, and what tasks call beside them: set-ups and assertions.

    Args:
        tables: Where the current database is.

    Attributes:
        tables_of: The tables that tell a database of this domain.
    """

    tables_of: frozenset[str] = frozenset()

    def __init__(self, tables: Callable[[], Tables]) -> None:
        self._tables = tables

    @property
    def db(self) -> Tables:
        """The current database."""
        return self._tables()

    def find(self, table: str, key: str, what: str) -> Row:
        """A row to be read.

        Raises:
            ToolError: there is none.
        """
        row = self.db.get(table, key)
        if row is None:
            raise ToolError(f"{what} not found")
        return row


class AgentToolkit(Toolkit):
    """Tools that the agents of all domains have."""

    @tool
    def transfer_to_human_agents(self, summary: str) -> str:
        """Transfer the user to a human agent, with a summary of the user's issue.

        Only transfer if the user explicitly asks for it, or if the policy and the tools do not allow to solve the issue.

        Args:
            summary: A summary of the user's issue.
        """
        return "Transfer successful"


class Calculator(AgentToolkit):
    """Agents that can calculate."""

    @tool
    def calculate(self, expression: str) -> str:
        """Calculate the result of a mathematical expression.

        Args:
            expression: Such as '2 + 2': numbers, operators (+, -, *, /), parentheses and spaces.
        """
        if not set(expression) <= set("0123456789+-*/(). "):
            raise ToolError("Invalid characters in expression")
        try:
            return str(round(float(_value(ast.parse(expression.strip(), mode="eval").body)), 2))
        except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
            raise ToolError(f"Invalid expression: {error}") from error


def _value(node: ast.expr) -> Any:
    """The value of an arithmetic expression; the text is never evaluated as code."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow) and (abs(right) > 64 or abs(left) > 1e6):
            raise ValueError("the power is too large")
        result = _OPERATORS[type(node.op)](left, right)
        if isinstance(result, complex) or abs(result) > _LARGEST:
            raise ValueError("the result is too large")
        return result
    raise ValueError("only numbers, operators and parentheses")
