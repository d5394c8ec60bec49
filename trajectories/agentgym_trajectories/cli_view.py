"""The command `view`."""

import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentgym import UserError
from agentgym.cli.output import JsonOption, Output
from agentgym_trajectories.cli import SelectionOption

if TYPE_CHECKING:
    from agentgym_trajectories.view.run import Run


def view(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a collection, a loop or an RL training.")],
    export: Annotated[Path | None, typer.Option("--export", help="Write the page with its data into a directory.")] = None,
    selection: SelectionOption = None,
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Export so many of each part, the newest.")] = 500,
    tokenizer: Annotated[Path | None, typer.Option("--tokenizer", help="Spells tokens; default: one found with the run.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    json: JsonOption = False,
) -> None:
    """Read trajectories in a browser: conversations, tokens, search trees, two side by side, while they are collected.

    The page is for this machine alone: it listens on loopback. An export is a directory to share: open its index.html.

    Example: agentgym view runs/trees
    """
    output = Output(json)
    from agentgym_trajectories.view.run import Run

    with closing(Run(run, tokenizer)) as shown:
        if export is None:
            _serve(shown, port, output)
            return
        from agentgym_trajectories.view.export import write

        count = write(shown, export, episodes, selection)
    output.say(f"Wrote {count} episodes and their page: open {export / 'index.html'}")
    output.result({"page": str(export / "index.html"), "episodes": count})


def _serve(run: "Run", port: int, output: Output) -> None:
    """Serve the page until Ctrl-C."""
    import uvicorn  # comes with an extra

    from agentgym_trajectories.view.server import application

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen()
        except OSError as error:
            raise UserError(f"port {port} cannot be listened on ({error.strerror}): choose another --port") from error
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        output.say(f"Reading {run.path} at {address} (Ctrl-C ends it)")
        output.result({"address": address})
        server = uvicorn.Server(uvicorn.Config(application(run), log_level="warning", access_log=False, lifespan="off"))
        with suppress(KeyboardInterrupt):  # how people end it
            server.run(sockets=[listening])
