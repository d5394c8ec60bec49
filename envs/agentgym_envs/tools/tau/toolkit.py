"""What the tools of all domains share."""

from collections.abc import Callable

from agentgym import ToolError, tool
from agentgym_envs.tools.arithmetic import value

from .tables import Row, Tables


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
            return str(round(float(value(expression)), 2))
        except ValueError as error:
            raise ToolError(f"Invalid expression: {error}") from error
