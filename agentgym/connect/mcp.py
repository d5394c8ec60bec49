"""Any MCP server as a `ToolSet`, and any `ToolSet` as an MCP server, by the official SDK (extra ``mcp``).

::

    server = McpServer("python my_server.py")       # or McpServer("https://host/mcp"): streamable HTTP
    tools = await server.open()
    ...
    await server.close()

A command starts its server anew with each `open`, so that no state goes from one episode into another; what the server behind an
address remembers is its own business. A tool that says that it failed is the agent's mistake. A server that dies, hangs, or does
not keep to what it says of its tools (schemas that are none, a listed tool that it does not know, arguments refused that its
schema allows, results that its output schema does not) raises `EnvironmentFailure`: none of that is the agent's doing.
"""

import asyncio
import logging
import os
import shlex
import shutil
import tempfile
from contextlib import AbstractAsyncContextManager
from typing import IO, Any

import mcp
import mcp_types as types
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server

from agentgym.connect.schema import SchemaTool
from agentgym.errors import EnvironmentFailure, Failure, ToolError, UserError
from agentgym.messages import ToolCall
from agentgym.tools import Tool, ToolSet, to_json

logging.getLogger("mcp.client").setLevel(logging.CRITICAL)  # whatever goes wrong is told by our failures
CLOSE_SECONDS = 10.0  # for a session to end: the SDK asks a server to go, then kills it
MAX_TOOLS = 1000  # of one server; a list without end is a lie too


class McpServer:
    """A session with a server.

    Args:
        server: A command line, or the address of a streamable HTTP endpoint. A command inherits of the environment only what
            programs need (PATH, HOME ...): give it more with ``env NAME=value command``.
        seconds: How long the server may take to open, and for each call.

    Raises:
        UserError: there is no such program.
    """

    def __init__(self, server: str, seconds: float = 30.0) -> None:
        self._command: list[str] = [] if server.startswith(("http://", "https://")) else _command(server)
        self._server, self._seconds = server, seconds
        self._client: mcp.Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stderr: IO[bytes] | None = None

    async def open(self) -> ToolSet:
        """Connect, and list the tools.

        Raises:
            EnvironmentFailure: the server does not answer, or not as it should.
        """
        listed: asyncio.Future[list[types.Tool]] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        # The SDK's scopes have to be left by the task that entered them, whoever opens and closes.
        self._keeper = asyncio.create_task(self._keep(listed))
        try:
            async with asyncio.timeout(self._seconds):
                tools = await listed
            return ToolSet([self._tool(t) for t in tools])
        except BaseException as error:
            listed.cancel()
            failure = self._failure(error)
            await self.close()
            if not isinstance(error, Exception):
                raise
            raise failure from error

    async def close(self) -> None:
        """End the session, and the server if it was started here."""
        keeper, connected = self._keeper, self._client is not None
        self._keeper = self._client = None
        if keeper is not None:
            self._over.set()
            if connected:
                await asyncio.wait([keeper], timeout=CLOSE_SECONDS)
            keeper.cancel()
            await asyncio.wait([keeper])
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Call a tool. Returns its result as text.

        Raises:
            ToolError: the tool says that it failed.
            EnvironmentFailure: the server does not answer, or not as it should.
        """
        try:
            if self._client is None:
                raise ConnectionError("the session is over")
            async with asyncio.timeout(self._seconds):
                result = await self._client.call_tool(name, arguments)
        except Exception as error:  # the SDK raises whatever its layers do
            raise self._failure(error, f"tool {name}: ") from error
        text = _text(result)
        if result.is_error:
            raise ToolError(text)
        return text

    def _tool(self, listed: types.Tool) -> Tool:
        async def function(**arguments: Any) -> str:
            return await self.call(listed.name, arguments)

        return SchemaTool(listed.name, listed.description or "", listed.input_schema, function)

    async def _keep(self, listed: "asyncio.Future[list[types.Tool]]") -> None:
        """The session from its beginning to its end."""
        try:
            async with mcp.Client(self._transport()) as client:
                tools = await _listed(client)
                self._client = client
                if not listed.done():
                    listed.set_result(tools)
                await self._over.wait()
        except BaseException as error:
            if not listed.done():
                listed.set_exception(_innermost(error))
            if isinstance(error, asyncio.CancelledError):
                raise

    def _transport(self) -> AbstractAsyncContextManager[Any]:
        if not self._command:
            return streamable_http_client(self._server)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the session is)
        command, *args = self._command
        return stdio_client(StdioServerParameters(command=command, args=args), errlog=self._stderr)  # type: ignore[arg-type]  # only its descriptor is used

    def _failure(self, error: BaseException, where: str = "") -> EnvironmentFailure:
        late = isinstance(error, TimeoutError)
        told = f"no answer within {self._seconds:g} s" if late else str(error) or type(error).__name__
        reason = told.partition("\n")[0]
        said = _last_line(self._stderr)
        return EnvironmentFailure(f"MCP server {self._server!r}: {where}{reason}" + (f"; it last wrote {said!r}" if said else ""))


def mcp_server(tools: ToolSet, name: str = "agentgym") -> "Server[Any]":
    """An MCP server, in this process, that offers our tools; run it with any of the SDK's transports.

    What an agent did wrong is a result that says so (``is_error``); a `Failure` is an error of the protocol.
    """

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        described = [t.schema["function"] for t in tools]
        return types.ListToolsResult(
            tools=[types.Tool(name=f["name"], description=f["description"], input_schema=f["parameters"]) for f in described]
        )

    async def call_tool(_: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            result = await tools.acall(ToolCall(asked.name, asked.arguments or {}))
        except Failure as failure:
            raise mcp.MCPError(types.INTERNAL_ERROR, str(failure)) from failure
        told = types.TextContent(type="text", text=result.message.content)
        return types.CallToolResult(content=[told], is_error=result.error is not None)

    return Server(name, on_list_tools=list_tools, on_call_tool=call_tool)


def _command(line: str) -> list[str]:
    try:
        command = shlex.split(line)
    except ValueError as error:
        raise UserError(f"{line!r} is no command line ({error}): mind its quotes") from error
    if not command or shutil.which(command[0]) is None:
        raise UserError(
            f"there is no program {line.partition(' ')[0]!r}: give an MCP server's command line, or its http(s) address"
        )
    return command


async def _listed(client: mcp.Client) -> list[types.Tool]:
    """All pages of the list of tools.

    Raises:
        ValueError: it has no end.
    """
    page = await client.list_tools()
    tools = list(page.tools)
    while page.next_cursor:
        page = await client.list_tools(cursor=page.next_cursor)
        tools += page.tools
        if len(tools) > MAX_TOOLS or not page.tools:
            raise ValueError(f"its list of tools has no end within {MAX_TOOLS}")
    return tools


def _text(result: types.CallToolResult) -> str:
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        return to_json(result.structured_content)
    return "\n".join(parts)


def _part(block: Any) -> str:
    """One piece of a result; what is no text is named."""
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.EmbeddedResource) and isinstance(block.resource, types.TextResourceContents):
        return block.resource.text
    where = getattr(block, "uri", "") or getattr(block, "mime_type", "") or ""
    return f"[{block.type} {where}]".replace(" ]", "]")


def _innermost(error: BaseException) -> Exception:
    """What really happened, out of the groups that task groups raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else ConnectionError("the session was cancelled")


def _last_line(stderr: IO[bytes] | None) -> str:
    if stderr is None:
        return ""
    descriptor = stderr.fileno()  # its position belongs to the server, which writes there
    written = os.pread(descriptor, 2000, max(0, os.fstat(descriptor).st_size - 2000))
    lines = written.decode("utf-8", "replace").splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
