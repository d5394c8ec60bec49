"""Any OpenAPI document (3.0 and 3.1, a subset) as a `ToolSet`: each operation is a tool (extra ``openapi``).

Read: ``get``, ``put``, ``post``, ``delete`` and ``patch``; parameters in the path, the query and headers; bodies in JSON, whose
properties become arguments, or the argument ``body`` where they are no plain object or share a name with a parameter; references
inside of the document. Everything else (cookies, forms, files, references to other documents) is one clear error that names the
operation, unless the operation works without it.

An answer of 2xx is the tool's result; one of 4xx is the agent's mistake, and shown to it; a server that answers 5xx, or nothing,
raises `EnvironmentFailure`.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import aiohttp
import msgspec

from agentgym.connect.schema import SchemaTool
from agentgym.errors import EnvironmentFailure, ToolError, UserError
from agentgym.tools import ToolSet

METHODS = ("get", "put", "post", "delete", "patch")
PLACES = ("path", "query", "header")
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json\b|\*/\*")


class OpenApi:
    """The operations of a document, to be called at its server.

    Args:
        document: A ``.json``, ``.yaml`` or ``.yml`` file.
        server: Address that the paths belong to; by default the document's first server.
        authorization: Name of the environment variable whose text is sent as the ``Authorization`` header, so that no secret
            stands in records.
        seconds: How long an answer may take.

    Raises:
        UserError: no such file or variable, or the document has something that is not supported.
    """

    def __init__(self, document: str, server: str | None = None, authorization: str | None = None, seconds: float = 30.0) -> None:
        self._seconds = seconds
        data = _load(document)
        listed = data.get("servers") or [{}]
        self._server = server or str(listed[0].get("url", ""))
        if not self._server.startswith(("http://", "https://")):
            raise UserError(f"{document} names no server ({self._server!r}): give its address")
        if authorization is not None and authorization not in os.environ:
            raise UserError(f"there is no environment variable {authorization!r}: set it to the Authorization header's text")
        self._headers = {} if authorization is None else {"Authorization": os.environ[authorization]}
        self._session: aiohttp.ClientSession | None = None
        self.tools = ToolSet([self._tool(o) for o in _operations(data, document)])

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _tool(self, operation: "_Operation") -> SchemaTool:
        async def call(**arguments: Any) -> str:
            return await self._call(operation, arguments)

        try:
            return SchemaTool(operation.name, operation.description, operation.schema(), call)
        except ValueError as error:
            raise UserError(f"{operation.where}: {error}") from error

    async def _call(self, operation: "_Operation", arguments: dict[str, Any]) -> str:
        path, query, headers, body = operation.request(arguments)
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=self._seconds))
        url = urljoin(self._server.rstrip("/") + "/", path.lstrip("/"))
        try:
            async with self._session.request(operation.method, url, params=query, headers=headers, json=body) as answer:
                text, status = await answer.text(), answer.status
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            told = f"no answer within {self._seconds:g} s" if isinstance(error, TimeoutError) else str(error)
            raise EnvironmentFailure(f"{operation.where} at {self._server}: {told or type(error).__name__}") from error
        if status >= 500:
            raise EnvironmentFailure(f"{operation.where} at {self._server}: status {status}: {text[:200]}")
        if status >= 400:
            raise ToolError(f"status {status}: {text}")
        return text or f"status {status}"


class _Operation:
    """One operation as a tool.

    Raises:
        UserError: it has something that is not supported.
    """

    def __init__(self, path: str, method: str, data: Mapping[str, Any], shared: list[Any], document: "_Document") -> None:
        self.path, self.method, self._document = path, method, document
        self.where = f"{document.name}, {method.upper()} {path}"
        self.name = data.get("operationId") or re.sub(r"[\W_]+", "_", f"{method}_{path}").strip("_")
        self.description = "\n".join(filter(None, (data.get("summary"), data.get("description")))) or self.name
        given = {(p["name"], p["in"]): p for p in map(self._followed, [*shared, *(data.get("parameters") or [])])}
        self.parameters = {name: p for (name, _), p in given.items() if self._takes(p)}
        self._body(self._followed(data.get("requestBody") or {}))

    def schema(self) -> dict[str, Any]:
        """JSON schema of all arguments."""
        properties, required = {}, []
        for name, p in self.parameters.items():
            properties[name] = self._document.schema(p.get("schema") or {"type": "string"}, self.where)
            if p.get("description"):
                properties[name] = {"description": p["description"], **properties[name]}
            required += [name] if p.get("required") or p["in"] == "path" else []
        properties |= self.body
        made = {"type": "object", "properties": properties, "required": required + self.body_required}
        return made | ({"$defs": found} if (found := self._document.definitions(made, self.where)) else {})

    def request(self, arguments: dict[str, Any]) -> tuple[str, list[tuple[str, str]], dict[str, str], Any]:
        """Path, query, headers and body of a call."""
        path, query, headers = self.path, list[tuple[str, str]](), dict[str, str]()
        for name, p in self.parameters.items():
            if name not in arguments:
                continue
            value = arguments[name]
            if p["in"] == "path":
                path = path.replace(f"{{{name}}}", quote(_text(value), safe=""))
            elif p["in"] == "header":
                headers[name] = _text(value)
            else:
                query += [(name, _text(v)) for v in (value if isinstance(value, list) else [value])]
        if self.whole:
            return path, query, headers, arguments.get("body")
        body = {k: v for k, v in arguments.items() if k in self.body}
        return path, query, headers, body if body or self.body_required else None

    def _takes(self, parameter: Mapping[str, Any]) -> bool:
        """Whether an argument is made of it."""
        if parameter["in"] in PLACES and "content" not in parameter:
            return True
        if parameter.get("required"):
            raise UserError(f"{self.where}: parameter {parameter['name']!r} in {parameter['in']!r} is not supported")
        return False

    def _body(self, body: Mapping[str, Any]) -> None:
        self.body, self.body_required, self.whole = dict[str, Any](), list[str](), False
        kinds = [k for k in body.get("content", {}) if _JSON.match(k)]
        if not kinds:
            if body.get("required"):
                raise UserError(
                    f"{self.where}: a body of {', '.join(body.get('content', {})) or 'nothing'} is not supported, only JSON"
                )
            return
        schema = self._followed(body["content"][kinds[0]].get("schema") or {})
        properties = schema.get("properties")
        if isinstance(properties, dict) and not set(properties) & set(self.parameters) and not {"allOf", "anyOf"} & set(schema):
            self.body = {name: self._document.schema(s, self.where) for name, s in properties.items()}
            self.body_required = list(schema.get("required", ())) if body.get("required") else []
        else:
            self.whole, self.body = True, {"body": self._document.schema(schema, self.where)}
            self.body_required = ["body"] if body.get("required") else []

    def _followed(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._document.follow(data, self.where)


class _Document:
    """A document and what its references mean.

    Args:
        name: For messages.
        data: All of it.
    """

    def __init__(self, name: str, data: dict[str, Any]) -> None:
        self.name, self.data = name, data

    def follow(self, data: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """What a reference leads to; anything else as it is.

        Raises:
            UserError: it leads out of the document, or nowhere.
        """
        for _ in range(20):
            if "$ref" not in data:
                return data
            found: Any = self.data
            for part in self._parts(data["$ref"], where):
                found = found.get(part) if isinstance(found, dict) else None
            if not isinstance(found, dict):
                raise UserError(f"{where}: {data['$ref']!r} leads nowhere in the document")
            data = found
        raise UserError(f"{where}: a chain of references has no end")

    def schema(self, schema: Any, where: str) -> Any:
        """A schema as JSON Schema: references to ``$defs``, ``nullable`` as a type."""
        if isinstance(schema, list):
            return [self.schema(s, where) for s in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            return {"$ref": "#/$defs/" + self._parts(schema["$ref"], where)[-1]}
        made = {k: self.schema(v, where) for k, v in schema.items() if k not in ("nullable", "example", "xml", "discriminator")}
        return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made

    def definitions(self, schema: Any, where: str) -> dict[str, Any]:
        """All schemas that a converted one refers to, and that these refer to."""
        found: dict[str, Any] = {}
        wanted = list(_references(schema))
        while wanted:
            name = wanted.pop()
            if name not in found:
                target = self.follow({"$ref": f"#/components/schemas/{name}"}, where)
                found[name] = self.schema(target, where)
                wanted += _references(found[name])
        return found

    def _parts(self, reference: str, where: str) -> list[str]:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise UserError(f"{where}: {reference!r} leads out of the document, which is not supported: put it in")
        return [p.replace("~1", "/").replace("~0", "~") for p in reference[2:].split("/")]


def _operations(data: dict[str, Any], name: str) -> Iterator[_Operation]:
    document = _Document(Path(name).name, data)
    for path, item in data["paths"].items():
        item = document.follow(item or {}, f"{document.name}, {path}")
        for method in METHODS:
            if method in item:
                yield _Operation(path, method, item[method], item.get("parameters") or [], document)


def _load(document: str) -> dict[str, Any]:
    path = Path(document)
    if not path.is_file():
        raise UserError(f"there is no file {document}: give an OpenAPI document in JSON or YAML")
    text = path.read_bytes()
    try:
        data = msgspec.json.decode(text) if path.suffix == ".json" else _yaml(text)
    except ValueError as error:
        raise UserError(f"{document} cannot be read: {error}") from error
    version = str(data.get("openapi", "")) if isinstance(data, dict) else ""
    if not version.startswith("3.") or not isinstance(data.get("paths"), dict):
        raise UserError(f"{document} is no OpenAPI document of version 3 (it says {version or 'nothing'!r}): convert it")
    return data  # type: ignore[no-any-return]


def _yaml(text: bytes) -> Any:
    import yaml  # only documents in YAML need it

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
