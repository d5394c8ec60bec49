"""How all commands speak: text for people, or one line of JSON for programs, and the options that they share.

Without ``--json`` everything is text on stdout. With it the text goes to stderr, and the last line of stdout is the result::

    def collect(env: EnvOption, env_arg: EnvArgOption = None, json: JsonOption = False) -> None:
        out = Output(json)
        out.say(f"Collecting in {env}.")
        ...
        out.say(f"Wrote {path}.")
        out.next_steps(f"agentgym select {path}")
        out.result({"path": path})
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from agentgym.errors import UserError
from agentgym.registry import specs
from agentgym.tools import to_json


def _environments(incomplete: str) -> list[str]:
    """For the shell's completion."""
    return [env_id for env_id in specs() if env_id.startswith(incomplete)]


_ENV = typer.Option("--env", metavar="ID", help="Environment, as in `agentgym env list`.", autocompletion=_environments)
EnvOption = Annotated[str, _ENV]
OptionalEnvOption = Annotated[str | None, _ENV]
IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Environment, as in `agentgym env list`.", autocompletion=_environments)
]
EnvArgOption = Annotated[
    list[str] | None,
    typer.Option("--env-arg", metavar="KEY=VALUE", help="Argument of the environment (JSON or text); repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON; texts go to stderr.")]


class Output:
    """Where a command's texts and its result go.

    Args:
        json: Whether the caller wants the result as JSON.
    """

    def __init__(self, json: bool = False) -> None:
        self.json = json
        # No markup: task texts and paths may contain brackets.
        self._console = Console(stderr=json, markup=False, highlight=False, emoji=False)

    def say(self, text: str = "") -> None:
        """One paragraph for people."""
        self._console.print(text, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table for people."""
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def next_steps(self, *commands: str) -> None:
        """The commands that make sense now."""
        for command in commands:
            self.say(f"Next: {command}")

    def progress(self) -> Progress:
        """A progress bar, used as ``with out.progress() as bar``; it shows on a terminal only and goes when it is done."""
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = self.json or not self._console.is_terminal
        return Progress(*columns, console=self._console, transient=True, disable=hidden)

    def result(self, data: Mapping[str, Any]) -> None:
        """The result for programs; without ``--json`` nothing, since `say` has told it."""
        if self.json:
            sys.stdout.write(to_json(data) + "\n")
            sys.stdout.flush()


def parse_env_args(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Read ``KEY=VALUE`` pairs: a value that is JSON is taken as such, any other is a string.

    Raises:
        UserError: a pair is malformed.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"--env-arg {pair!r} is no argument: write KEY=VALUE, as in --env-arg level=hard")
        try:
            arguments[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            arguments[key] = value
    return arguments
