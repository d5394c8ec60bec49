"""``remote/OpenApi-v0``: the operations of any OpenAPI document, for tasks in words."""

from agentgym import Task, ToolSet
from agentgym.connect.openapi import OpenApi as Api

from .base import Instructed


class OpenApi(Instructed):
    """Do what the instructions say with the operations of a web service that an OpenAPI document describes.

    What the service remembers from one episode to the next is its own business.

    Args:
        document: A ``.json``, ``.yaml`` or ``.yml`` file.
        instructions: The words themselves, or a file of JSON lines with a ``prompt`` each.
        check: ``FILE.py:FUNCTION`` that scores ``(answer, task, calls)``; without it no reward is claimed.
        server: Address that the paths belong to; by default the document's first server.
        authorization: Name of the environment variable whose text is sent as the ``Authorization`` header.
        seconds: How long an answer may take.

    Raises:
        UserError: no such file, function or variable, or the document has something that is not supported.
    """

    def __init__(
        self,
        document: str,
        instructions: str,
        check: str | None = None,
        server: str | None = None,
        authorization: str | None = None,
        seconds: float = 30.0,
    ) -> None:
        super().__init__(instructions, check)
        self._api = Api(document, server, authorization, seconds)

    async def connect(self, task: Task) -> tuple[ToolSet, str]:
        """The document's operations; connections are made by calls."""
        return self._api.tools, task.prompt

    async def disconnect(self) -> None:
        """Close the connections."""
        await self._api.close()
