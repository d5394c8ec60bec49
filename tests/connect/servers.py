"""An MCP server written with the official SDK: ``python servers.py`` over stdio, ``python servers.py PORT`` over HTTP."""

import sys

from mcp.server import MCPServer

server = MCPServer("till")
total: list[int] = []


@server.tool()
def add(amount: int) -> int:
    """Add an amount to the total.

    Args:
        amount: In cents.
    """
    if amount < 0:
        raise ValueError("an amount is not negative")
    total.append(amount)
    return sum(total)


@server.tool()
def note(text: str, tags: list[str] | None = None) -> str:
    """Write a note."""
    return f"{text} {tags}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
