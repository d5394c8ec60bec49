"""The server of the page: JSON about the run, and the page's own files, for this machine alone."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from agentgym_trajectories.store import Store

from . import content, listing
from .run import Run, overview

PAGE = files(__package__) / "page"
SCRIPTS = ("core.js", "text.js", "list.js", "conversation.js", "tokens.js", "tree.js", "main.js")
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
POLICY = "default-src 'none'; {kinds}; base-uri 'none'; form-action 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY.format(kinds="script-src 'self'; style-src 'self'; connect-src 'self'")
    + "; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
HOSTS = ["127.0.0.1", "localhost"]  # other names that lead here are somebody's trick (DNS rebinding)
OF_PARTS: dict[str, Callable[[Store, Mapping[str, str]], Any]] = {
    "list": listing.page,
    "search": listing.search,
    "facets": lambda store, asked: listing.facets(store),
}
OF_EPISODES: dict[str, Callable[[Run, Store, int, Mapping[str, str]], Any]] = {
    "episode": lambda run, store, row, asked: content.outline(store, row),
    "nodes": lambda run, store, row, asked: content.turns(store, row, _ids(asked)),
    "tokens": lambda run, store, row, asked: content.tokens(store, run.spelling, row, _ids(asked)),
    "text": lambda run, store, row, asked: content.text(store, row, json.loads(asked["at"]), int(asked["from"])),
}


def application(run: Run) -> Starlette:
    """The page and its data."""

    def part(request: Request) -> Response:
        what, asked = request.path_params["what"], dict(request.query_params)
        return answer(lambda: OF_PARTS[what](run.part(request.path_params["part"]), asked))

    def episode(request: Request) -> Response:
        what, row, asked = request.path_params["what"], request.path_params["row"], dict(request.query_params)
        return answer(lambda: OF_EPISODES[what](run, run.part(request.path_params["part"]), row, asked))

    def about(request: Request) -> Response:
        return answer(lambda: overview(run, live=True))

    routes = [
        Route("/", lambda request: asset("index.html")),
        Route("/page/{name}", lambda request: asset(request.path_params["name"])),
        Route("/api/run", about),
        Route("/api/{part:int}/{what}", part),
        Route("/api/{part:int}/{what}/{row:int}", episode),
    ]
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)]
    return Starlette(routes=routes, middleware=guards)


def answer(work: Callable[[], Any]) -> Response:
    """JSON, or one line that says what was wrong with the request."""
    try:
        return Response(msgspec.json.encode(work()), media_type="application/json", headers=HEADERS)
    except LookupError as error:
        return PlainTextResponse(f"Not found: {error}", 404, HEADERS)
    except ValueError as error:
        return PlainTextResponse(f"Wrong request: {error}", 400, HEADERS)


def asset(name: str) -> Response:
    """A file of the page."""
    if name not in ("index.html", "style.css", *SCRIPTS):
        return PlainTextResponse("Not found", 404, HEADERS)
    return Response((PAGE / name).read_bytes(), media_type=TYPES[name.rpartition(".")[2]], headers=HEADERS)


def _ids(asked: Mapping[str, str]) -> list[int] | None:
    return [int(i) for i in asked["ids"].split(",") if i] if "ids" in asked else None
