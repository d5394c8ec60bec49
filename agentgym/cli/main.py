"""The command ``agentgym``: its commands come from entry points of the group ``agentgym.commands``, its errors end here.

A value of the group is a `typer.Typer` (a group of commands) or a function (one command). A command that cannot be imported
stays in the list and says what is missing, so that one package or extra that is not there takes no other down.

Whatever goes wrong through what the user asked for, or on the user's machine, is one line on stderr that says what to do.
Exit codes: 0 done, 1 something failed, 2 the request is wrong, 130 interrupted.
"""

import errno
import logging
import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

import agentgym
from agentgym.cli.extras import lacking
from agentgym.errors import Failure, UserError

GROUP = "agentgym.commands"
_ORDER = (
    "env",
    "collect",
    "synthesize",
    "verify",
    "select",
    "pairs",
    "export",
    "serve",
    "view",
    "model",
    "train",
    "eval",
    "compare",
    "plan",
    "run",
    "loop",
    "recipe",
    "report",
    "demo",
    "doctor",
)  # installed metadata lose their order
UsageError = cast(type[Any], typer.BadParameter.__base__)  # Typer has no name for it
WIDTH = 100  # columns of help, where the terminal has so many
# What the disk refuses, wherever it is noticed. Other errors of the system are bugs, and keep their traceback.
_BLOCKED = {
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "cannot be opened ({}): choose another path, or mend the permissions"
    ),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG), "cannot be opened ({}): choose another path"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "cannot be written ({}): make room, and run the command again"),
}


class _Root(TyperGroup):
    """The one place where errors become exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_rank)  # Typer puts groups behind commands

    def make_context(self, *args: Any, **options: Any) -> Any:
        try:
            return super().make_context(*args, **options)
        except UsageError as error:
            _misused(error)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            _exit(f"Error: {error}", 2)
        except Failure as error:
            _exit(f"Error: {error}", 1)
        except UsageError as error:
            _misused(error)
        except ModuleNotFoundError as error:  # commands import what is heavy when they run
            if not (remedy := _remedy(error)):
                raise
            _exit(f"Error: {error}; {remedy}", 2)
        except KeyboardInterrupt:
            _exit("Interrupted.", 130)
        except Exception as error:
            if not (number := _blocked(error)):
                raise
            where = getattr(error, "filename", None) or "the output"
            _exit(f"Error: {where} {_BLOCKED[number].format(os.strerror(number))}", 2)


def main() -> None:
    """Run the command line; what the packages log goes to stderr."""
    # Before torch is imported: its threads then sleep while they wait for each other. Spinning is 8 % faster on idle cores, and
    # up to 30 times slower as soon as another program wants one of them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(format="    %(message)s", level=logging.WARNING)
    for package in ("agentgym", "agentgym_trajectories", "agentgym_training"):
        logging.getLogger(package).setLevel(logging.INFO)
    build_app()(prog_name="agentgym")


def build_app() -> typer.Typer:
    """All commands that entry points announce, ours first and in the order of a project's way."""
    app = typer.Typer(
        cls=_Root,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": WIDTH},
    )
    app.callback()(_root)
    for point in entry_points(group=GROUP):
        _add(app, point)
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"agentgym {agentgym.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, help="Print the version.", is_eager=True)] = False,
) -> None:
    """Environments, exact trajectories, tree search and training for language-model agents.

    Example: agentgym demo --out runs/demo
    """


def _rank(command: str) -> tuple[int, str]:
    return (_ORDER.index(command) if command in _ORDER else len(_ORDER), command)


def _add(app: typer.Typer, point: EntryPoint) -> None:
    try:
        command = point.load()
    except Exception as error:  # a broken command must not break the others
        takes_all = {"ignore_unknown_options": True, "allow_extra_args": True}
        stand_in = app.command(point.name, help="(not available here)", context_settings=takes_all, add_help_option=False)
        stand_in(_unavailable(point.name, error))
        return
    if isinstance(command, typer.Typer):
        command.rich_markup_mode = None
        app.add_typer(command, name=point.name)
    else:
        app.command(point.name)(command)


def _unavailable(name: str, error: Exception) -> Callable[[], None]:
    """Stands in for a command that cannot be imported: whatever it is asked, it says why."""
    remedy = _remedy(error) or "see `agentgym --help` for what is"

    def unavailable() -> None:
        raise UserError(f"`agentgym {name}` is not available ({type(error).__name__}: {error}); {remedy}")

    return unavailable


def _remedy(error: Exception) -> str:
    """The extra of this distribution that brings a missing module, as advice; empty when it is nothing of that kind."""
    extra = lacking(error)
    return f"install it with: pip install 'agentgym[{extra}]'" if extra else ""


def _misused(error: Any) -> NoReturn:
    """A command line that cannot be read, in one line; of a group without a command, its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        raise error
    where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
    _exit(f"Error: {' '.join(error.format_message().split()).rstrip('.')}{where}", 2)


def _blocked(error: Exception) -> int:
    """What the system refused, if it is one of `_BLOCKED`; libraries written in Rust say it in words."""
    if isinstance(error, OSError):
        return error.errno if error.errno in _BLOCKED else 0
    return next((number for number in _BLOCKED if f"(os error {number})" in str(error)), 0)


def _exit(text: str, code: int) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code)
