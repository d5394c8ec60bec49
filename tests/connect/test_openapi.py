"""OpenAPI documents as tools of a real server on this machine, and what is not supported as one clear error."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from agentgym import EnvironmentFailure, ToolCall, UserError, assistant, call, make
from agentgym.connect.openapi import OpenApi
from agentgym.sampling import Scripted
from agentgym_trajectories.rollout import Memory, Rollout
from tests.adapters.test_openenv import running

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "servers": [{"url": "http://127.0.0.1:9/api"}],
    "paths": {
        "/pets/{pet id}": {
            "parameters": [{"$ref": "#/components/parameters/id"}],
            "get": {
                "operationId": "getPet",
                "summary": "Read one pet.",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "x-trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                ],
            },
            "put": {
                "operationId": "putPet",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            },
        },
        "/echo": {
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"type": "array", "items": {"type": "integer"}}}}}
            }
        },
        "/status/{code}": {
            "get": {"operationId": "status", "parameters": [{"name": "code", "in": "path", "schema": {"type": "integer"}}]}
        },
    },
    "components": {
        "parameters": {"id": {"name": "pet id", "in": "path", "required": True, "schema": {"type": "integer"}}},
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "owner": {"$ref": "#/components/schemas/Owner"}},
            },
            "Owner": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "nullable": True},
                    "pets": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
                },
            },
        },
    },
}


def service() -> web.Application:
    async def told(request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        more = {k: request.headers[k] for k in ("x-trace", "Authorization") if k in request.headers}
        return web.json_response([request.method, request.path, list(request.query.items()), more, body])

    async def status(request: web.Request) -> web.Response:
        code = int(request.match_info["code"])
        if code == 0:
            await asyncio.sleep(2)
        return web.Response(status=code or 200, text="" if code == 204 else f"so {code}")

    app = web.Application()
    app.router.add_get("/api/status/{code}", status)
    app.router.add_route("*", "/api/{path:.*}", told)
    return app


def test_operations_are_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "Bearer x")
    (tmp_path / "api.yaml").write_text(yaml.safe_dump(DOCUMENT, sort_keys=False))

    async def go(url: str) -> None:
        api = OpenApi(str(tmp_path / "api.yaml"), f"{url}/api", "MY_TOKEN", 0.5)
        assert [t.name for t in api.tools] == ["getPet", "putPet", "post_echo", "status"]
        put = api.tools.schemas[1]["function"]["parameters"]
        assert put["required"] == ["pet id", "name"]
        assert put["properties"]["owner"] == {"$ref": "#/$defs/Owner"}
        assert set(put["$defs"]) == {"Owner", "Pet"}

        async def told(name: str, /, **arguments: Any) -> Any:
            result = await api.tools.acall(ToolCall(name, arguments, "x"))
            return result.error or json.loads(result.message.content)

        auth = {"Authorization": "Bearer x"}
        assert await told("getPet", **{"pet id": 3, "fields": ["a b", "c"], "x-trace": "t"}) == [
            "GET",
            "/api/pets/3",
            [["fields", "a b"], ["fields", "c"]],
            {"x-trace": "t"} | auth,
            None,
        ]
        pet = {"name": "Rex", "owner": {"name": None, "pets": []}}
        assert await told("putPet", **{"pet id": 3}, **pet) == ["PUT", "/api/pets/3", [], auth, pet]
        assert await told("post_echo", body=[1, 2]) == ["POST", "/api/echo", [], auth, [1, 2]]
        assert await told("putPet", **{"pet id": 3}) == "missing_argument"
        assert await told("putPet", **{"pet id": 3, "name": "a", "owner": {"pets": [{"no": 1}]}}) == "missing_argument"
        assert await told("putPet", **{"pet id": "3", "name": "a"}) == "ill_typed_argument"
        assert await told("post_echo", body=[1, 2], more=1) == "extra_argument"
        assert (await api.tools.acall(ToolCall("status", {"code": 204}))).message.content == "status 204"
        refused = await api.tools.acall(ToolCall("status", {"code": 404}))
        assert (refused.error, refused.message.content) == ("tool_error", "Error: status 404: so 404")
        for code, text in ((503, "status 503: so 503"), (0, "no answer within 0.5 s")):
            with pytest.raises(EnvironmentFailure, match=text):
                await api.tools.acall(ToolCall("status", {"code": code}))
        await api.close()

    with running(service()) as url:
        asyncio.run(go(url))


def test_an_agent_uses_a_service_and_a_service_that_breaks_is_a_failed_episode(tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "check.py").write_text("def score(answer, task, calls):\n    return answer == 'so 200' and len(calls) == 1\n")

    def policy(code: int) -> Scripted:
        return Scripted(
            lambda r: assistant("so 200") if r.messages[-1].role == "tool" else assistant("", call("status", code=code))
        )

    with running(service()) as url:
        args = {
            "document": str(tmp_path / "api.json"),
            "instructions": "Ask for status 200.",
            "check": f"{tmp_path / 'check.py'}:score",
            "server": f"{url}/api",
        }
        tasks = make("remote/OpenApi-v0", **args).tasks()
        good, bad = Memory(), Memory()
        asyncio.run(Rollout("remote/OpenApi-v0", args).run(tasks, policy(200), good))
        asyncio.run(Rollout("remote/OpenApi-v0", args, attempts=1).run(tasks, policy(500), bad))
    assert next(good.episodes[0].trajectories()).success
    assert (bad.episodes, len(bad.failures)) == ([], 1)


def changed(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(DOCUMENT))
    for path, value in changes.items():
        *parts, last = path.split("__")
        at = made
        for part in parts:
            at = at[{"echo": "/echo"}.get(part, part)]
        at[last] = value
    return made


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (changed(openapi="2.0"), "no OpenAPI document of version 3"),
        (changed(paths=None), "no OpenAPI document of version 3"),
        (changed(servers=[]), "names no server"),
        (changed(components__parameters={}), "leads nowhere"),
        (changed(components__parameters__id={"$ref": "#/components/parameters/id"}), "has no end"),
        (changed(components__schemas__Pet={"$ref": "other.json#/Pet"}), "leads out of the document"),
        (changed(paths__echo__post={"requestBody": {"required": True, "content": {"text/csv": {}}}}), "only JSON"),
        (
            changed(paths__echo__post={"parameters": [{"name": "a", "in": "cookie", "required": True}]}),
            "'cookie' is not supported",
        ),
        (changed(paths__echo__post={"operationId": "a b"}), "no name for a tool"),
        (
            changed(paths__echo__post={"parameters": [{"name": "a", "in": "query", "schema": {"type": "whole"}}]}),
            "no JSON schema",
        ),
    ],
)
def test_what_is_not_supported_is_one_clear_error(document: dict[str, Any], text: str, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=text):
        OpenApi(str(tmp_path / "api.json"))


def test_files_and_variables_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "api.json").write_text(json.dumps(DOCUMENT))
    for place, text in (("none.json", "there is no file"), ("bad.json", "cannot be read"), ("bad.yaml", "cannot be read")):
        with pytest.raises(UserError, match=text):
            OpenApi(str(tmp_path / place))
    with pytest.raises(UserError, match="no environment variable 'NOT_SET'"):
        OpenApi(str(tmp_path / "api.json"), authorization="NOT_SET")
