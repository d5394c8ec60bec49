"""``remote/Mcp-v0``: any MCP server's tools, for tasks in words."""

from agentgym import ToolSet
from agentgym.connect.mcp import McpServer

from .base import Remote


class Mcp(Remote):
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
        super().__init__(instructions, check, seconds)
        self._server = McpServer(server, seconds)

    async def connect(self) -> ToolSet:
        """Start the server, or a session with it."""
        return await self._server.open()

    async def disconnect(self) -> None:
        """End the session."""
        await self._server.close()
