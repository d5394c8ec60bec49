"""The command `serve`."""

import os
from typing import Annotated

import typer

from agentgym import UserError
from agentgym.cli.output import EnvArgOption, EnvOption, Output, parse_env_args


def serve(
    env: EnvOption,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    sessions: Annotated[int, typer.Option("--sessions", min=1, help="Clients at once, each with an instance of its own.")] = 1000,
    env_arg: EnvArgOption = None,
) -> None:
    """Serve an environment to OpenEnv clients, over WebSockets, until Ctrl-C.

    Example: agentgym serve --env desk/Orders-v0 --port 8000
    """
    from aiohttp import web  # comes with an extra

    from agentgym_trajectories.serve import OpenEnvServer

    app = OpenEnvServer(env, parse_env_args(env_arg), sessions).app()
    try:
        web.run_app(app, host=host, port=port, print=lambda text: Output().say(text.partition("\n")[0]), handle_signals=True)
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # asyncio's own words say the address again
        raise UserError(f"{host}:{port} cannot be listened on ({reason}): choose another --port or --host") from error
