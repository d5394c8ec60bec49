"""``agentgym env``: list, show, check, validate and begin environments."""

import inspect
import shlex
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from gymnasium.envs.registration import EnvSpec, load_env_creator

from agentgym.checks import Check, Validation, check_env, validate_env
from agentgym.cli import scaffold
from agentgym.cli.extras import lacking
from agentgym.cli.output import EnvArgOption, IdArgument, JsonOption, Output, parse_env_args
from agentgym.env import Environment
from agentgym.errors import NotInstalled, UserError
from agentgym.messages import to_openai
from agentgym.registry import make, needs, specs
from agentgym.tasks import SPLITS

VALIDATING = 2.0  # seconds in which `check` measures whether tasks are sound

app = typer.Typer(
    help="List, show, check and begin environments.\n\nExample: agentgym env show desk/Orders-v0", no_args_is_help=True
)


@app.command("list")
def list_environments(json: JsonOption = False) -> None:
    """List all environments, those of installed packages included.

    Example: agentgym env list
    """
    out = Output(json)
    found = [{"id": i, "family": i.partition("/")[0], "description": _describe(spec)} for i, spec in specs().items()]
    out.table(("environment", "family", "description"), [tuple(f.values()) for f in found])
    if found:
        out.next_steps(f"agentgym env show {found[0]['id']}")
    out.result({"environments": found})


@app.command()
def show(env: IdArgument, env_arg: EnvArgOption = None, json: JsonOption = False) -> None:
    """Show an environment's description, tools, tasks and an example.

    Example: agentgym env show desk/Orders-v0 --env-arg level=hard
    """
    out = Output(json)
    with closing(make(env, **parse_env_args(env_arg))) as made:
        data = _portrait(env, made)
    out.say(f"{env}\n{data['description']}\n")
    if data["tools"]:
        out.table(("tool", "parameters", "description"), [_tool_row(tool["function"]) for tool in data["tools"]])
    else:
        out.say("No tools.")
    out.say("\nTasks: " + ", ".join(f"{split} {'endless' if n is None else n}" for split, n in data["splits"].items()))
    out.say(f"An episode has at most {data['max_turns']} turns; doing nothing solves {data['floor']:.1%}.")
    out.say(f"\nTask {data['example']['task']} begins:")
    for message in data["example"]["messages"]:
        out.say(f"[{message['role']}] {message['content']}")
    out.next_steps(f"agentgym env check {env}")
    out.result(data)


@app.command()
def check(
    env: Annotated[str | None, typer.Argument(metavar="ID", help="Environment or family; or --all.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Check every environment.")] = False,
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Check that an environment keeps its promises.

    The exit code is 1 when it does not. Of several, those are left out that need what is not given or not installed, or that do
    not take the arguments.

    Example: agentgym env check games
    """
    if (env is None) != every:
        raise UserError("say which environment to check: an ID, or --all, and not both")
    out, arguments = Output(json), parse_env_args(env_arg)
    names = [name for name in specs() if every or name == env or name.partition("/")[0] == env]
    if env and not names:
        make(env)  # says what is wrong with the name
    if arguments and len(names) == 1:
        _offer(names[0], arguments)
    reports, skipped = list[dict[str, Any]](), dict[str, str]()
    with out.progress() as bar:
        for name in bar.track(names, description="Checking"):
            if len(names) > 1 and (missing := _missing(name, arguments)):
                skipped[name] = missing
                out.say(f"{name}: not checked, {missing}")
                continue
            checks, validation = _check(name, arguments)
            _print_checks(out, name, checks)
            reports.append(_report(name, checks, validation))
    if arguments and not reports:
        raise UserError(f"none of {len(names)} environments was checked: give --env-arg what they take, see `agentgym env show`")
    ok = all(r["ok"] for r in reports)
    if ok:
        out.next_steps(f"agentgym collect --env {names[0]} --out runs/gold")
    whole = {"ok": ok, "environments": reports} | ({"skipped": skipped} if skipped else {})
    out.result(reports[0] if len(names) == 1 and not every else whole)
    if not ok:
        raise typer.Exit(1)


@app.command()
def validate(
    env: IdArgument,
    split: Annotated[str | None, typer.Option(help="Which tasks: train, or with --data those of all splits.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="How many tasks at most: 100, or all those of --data; 0 for all of finite splits.", min=0)
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE", help="Tasks to load, in a format that the environment knows.")
    ] = None,
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Play tasks with the oracle and with doing nothing.

    The exit code is 1 when the oracle fails, or doing nothing solves more than the environment says; the tasks that the oracle
    does not solve are named.

    Example: agentgym env validate code/Python-v0 --data mbpp.jsonl
    """
    out, arguments = Output(json), parse_env_args(env_arg)
    if data is not None:
        arguments["data"] = data
    elif split is None:
        split = "train"
    out.say(f"Validating {split or 'all'} tasks of {env}.")
    with closing(make(env, **arguments)) as made:
        if limit is None:
            limit = 100 if data is None or made.tasks(split or "train").infinite else 0
        result = validate_env(made, split, limit or None)
    gold = f"the oracle solved {result.gold_passed}" if result.has_oracle else "there is no oracle"
    out.say(f"Of {result.tasks} tasks {gold}; doing nothing solved {result.floor_passed} (stated: {result.floor:.1%}).")
    out.say(f"Not sound: {result.problem}." if result.problem else "The tasks are sound.")
    out.result(
        {"env": env, "ok": not result.problem, "problem": result.problem} | _counts(result) | {"gold_failed": result.gold_failed}
    )
    if result.problem:
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the package, in lower case.")],
    parent: Annotated[Path, typer.Option("--dir", help="Where to put its folder.")] = Path("."),
    install: Annotated[bool, typer.Option(help="Install it in editable mode into this Python.")] = True,
    json: JsonOption = False,
) -> None:
    """Begin an environment of your own.

    Writes a small package that works and passes the checks.

    Example: agentgym env new my_env
    """
    out = Output(json)
    folder = scaffold.create(name, parent)
    env_id = scaffold.environment_id(name)
    out.say(f"Wrote {env_id} to {folder}; the environment is in {name}.py.")
    installed = install and scaffold.install(folder)
    if installed:
        out.say("Installed it in editable mode: what you change takes effect at once.")
    else:
        if install:
            out.say("It could not be installed from here.")
        out.next_steps(f"pip install -e {shlex.quote(str(folder))}")
    out.next_steps(f"agentgym env check {env_id}")
    out.result({"env": env_id, "path": folder, "installed": installed})


def _describe(spec: EnvSpec) -> str:
    """The first line of the class's docstring, or why there is none."""
    point: Any = spec.entry_point
    try:
        described = load_env_creator(point) if isinstance(point, str) else point
    except Exception as error:  # a broken package is listed as such
        extra = lacking(error)
        return f"(not installed: pip install 'agentgym[{extra}]')" if extra else f"(cannot be imported: {error})"
    return (inspect.getdoc(described) or "").partition("\n")[0]


def _portrait(env: str, made: Environment) -> dict[str, Any]:
    """All that `show` shows, as JSON values."""
    splits = {split: made.tasks(split) for split in SPLITS}
    opening, info = made.reset(seed=0, options={"split": next((name for name, tasks in splits.items() if len(tasks)), "train")})
    return {
        "env": env,
        "description": inspect.getdoc(type(made)) or "",
        "tools": opening.tools,
        "splits": {split: None if tasks.infinite else len(tasks) for split, tasks in splits.items()},
        "max_turns": made.max_turns,
        "floor": made.floor,
        "example": {"task": info["task"], "messages": [to_openai(m) for m in opening.messages]},
    }


def _tool_row(function: Mapping[str, Any]) -> tuple[str, str, str]:
    properties: Mapping[str, Any] = function["parameters"]["properties"]
    parameters = ", ".join(f"{name}: {_type(schema)}" for name, schema in properties.items())
    return function["name"], parameters, str(function["description"]).partition("\n")[0]


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(_type(s) for s in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return str(schema.get("type", "any"))


def _missing(env: str, arguments: dict[str, Any]) -> str:
    """Why an environment is left out: it needs arguments, other ones, or something installed; empty when nothing is missing."""
    if wanted := [n for n in needs(env) if n not in arguments]:
        return f"it needs {', '.join(wanted)}"
    try:
        _offer(env, arguments)
    except UserError as error:
        return str(error) if arguments or isinstance(error, NotInstalled) else ""
    return ""


def _offer(env: str, arguments: dict[str, Any]) -> None:
    """Raise the `UserError` of an environment that refuses arguments; whatever else is wrong with it, checking it will tell."""
    try:
        make(env, **arguments).close()
    except UserError:
        raise
    except Exception:
        return


def _check(env: str, arguments: dict[str, Any]) -> tuple[list[Check], Validation | None]:
    """All checks, and validation as one more."""
    checks = check_env(env, **arguments)
    if not checks[0].ok:
        return checks, None
    try:
        with closing(make(env, **arguments)) as made:
            validation = validate_env(made, None, seconds=VALIDATING)  # train, and where that has fewer tasks the others
    except Exception as error:  # a broken environment is what we are here to report
        return [*checks, Check("the tasks are sound", False, f"{type(error).__name__}: {error}")], None
    return [*checks, Check("the tasks are sound", not validation.problem, validation.problem)], validation


def _print_checks(out: Output, env: str, checks: list[Check]) -> None:
    failed = [c for c in checks if not c.ok]
    out.say(f"{env}: {len(checks) - len(failed)} of {len(checks)} checks passed")
    out.table(("", "check", "what is wrong"), [("ok" if c.ok else "FAILED", c.name, c.detail) for c in checks])


def _report(env: str, checks: list[Check], validation: Validation | None) -> dict[str, Any]:
    failed = [{"name": c.name, "detail": c.detail} for c in checks if not c.ok]
    return {"env": env, "ok": not failed, "failed": failed} | _counts(validation)


def _counts(validation: Validation | None) -> dict[str, Any]:
    if validation is None:
        return {"tasks": 0, "gold_passed": 0, "floor_passed": 0}
    return {"tasks": validation.tasks, "gold_passed": validation.gold_passed, "floor_passed": validation.floor_passed}
