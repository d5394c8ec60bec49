"""``remote/Mcp-v0``: any MCP server's tools, for tasks in words."""

from agentgym import Task, ToolSet
from agentgym.connect.mcp import McpServer

from .base import Instructed


class Mcp(Instructed):
    """Do what the instructions say with the tools of an MCP server; a command is started anew for each episode.

    Args:
        server: A command line, or the address of a streamable HTTP endpoint.
        instructions: The words themselves, or a file of JSON lines with a ``prompt`` each.
        check: ``FILE.py:FUNCTION`` that scores ``(answer, task, calls)``; without it no reward is claimed.
        seconds: How long the server may take to start, and for each call.

    Raises:
        UserError: no such program, file or function.
    """

    def __init__(self, server: str, instructions: str, check: str | None = None, seconds: float = 30.0) -> None:
        super().__init__(instructions, check)
        self._server = McpServer(server, seconds)

    async def connect(self, task: Task) -> tuple[ToolSet, str]:
        """Start the server, or a session with it."""
        return await self._server.open(), task.prompt

    async def disconnect(self) -> None:
        """End the session."""
        await self._server.close()
