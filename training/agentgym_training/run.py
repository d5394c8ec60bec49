"""The driver of recipes: carries out the stages in a folder, and keeps there what has to be known to do it again.

- ``recipe.yaml``: the recipe with all values that were given on the command line and all defaults; it can be run itself.
- ``provenance.jsonl``: a line for each time that it was begun or gone on with: when, by which command, versions, the commit of
  the source, the machine. The seed stands in the recipe.
- what the stages leave, see `stages`.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from agentgym import UserError, make
from agentgym.cli.output import Output

from .files import at_once
from .recipe import Recipe, load_recipe
from .stages import Acting, Context, Rounds, Stage, WarmUp

RECIPE, PROVENANCE = "recipe.yaml", "provenance.jsonl"
SHOWN = 3  # differences between two recipes, where there are more
PACKAGES = ("agentgym", "torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "gymnasium", "numpy")


def run_recipe(recipe: Recipe, out: Path, output: Output) -> dict[str, Any]:
    """Carry out a recipe, or go on with it.

    Args:
        recipe: What to do.
        out: Folder for everything.
        output: Where progress is told.

    Returns:
        ``stages``: the result of each by its name; ``policy``: the directory of the last one.

    Raises:
        UserError: the folder is another recipe's, or a stage cannot be done.
    """
    _same_recipe(recipe, out)
    with (out / PROVENANCE).open("a") as log:
        log.write(json.dumps(provenance()) + "\n")
    context = Context(recipe, out, out, output, recipe.start)
    if recipe.policy is not None:
        context.adopt(recipe.policy)
    done = {stage.name: context.do(stage) for stage in recipe.stages}
    return {"stages": done, "policy": str(context.policies.get("policy", ""))}


def _same_recipe(recipe: Recipe, out: Path) -> None:
    """Keep the recipe, or compare it with the one that is there."""
    file, now = out / RECIPE, recipe.model_dump(mode="json")
    if file.exists():
        before = load_recipe(str(file)).model_dump(mode="json")
        if found := list(_differences(before, now)):
            more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
            what = f"{', '.join(found[:SHOWN])}{more}"
            raise UserError(f"{out} was made with another recipe or seed: {what}; give the same, or choose another --out")
        return
    tried: list[tuple[str, dict[str, Any]]] = []
    for played in _environments(recipe, recipe.stages):
        if played not in tried:  # what is wrong with one is said before anything is written
            make(played[0], **played[1]).close()
            tried.append(played)
    out.mkdir(parents=True, exist_ok=True)
    with at_once(file) as part:
        part.write_text(yaml.safe_dump(now, sort_keys=False, allow_unicode=True, width=130))


def _environments(recipe: Recipe, stages: Sequence[Stage]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All that are played in."""
    yield recipe.env, recipe.env_args
    for stage in stages:
        if isinstance(stage, Acting):
            yield stage.where(recipe)[:2]
        elif isinstance(stage, Rounds):
            yield from _environments(recipe, stage.stages)
        elif isinstance(stage, WarmUp):
            yield from ((recipe.env, easier.env_args) for easier in stage.easier)


def _differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Where two recipes differ, stages being told by their names: each key with its value before, and now."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}".lstrip("."))
    elif isinstance(before, list) and key.rpartition(".")[2] == "stages":
        had, has = ({stage["name"]: stage for stage in stages} for stages in (before, now))
        for name in {**had, **has}:
            if name in had and name in has:
                yield from _differences(had[name], has[name], f"{key.removesuffix('stages')}{name}")
            else:
                yield f"{name} was {'there and is not' if name in had else 'not there'}"
        if set(had) == set(has) and list(had) != list(has):
            yield "the stages had another order"
    elif before != now:
        yield f"{key} was {before!r:.60} and is {now!r:.60}"


def provenance() -> dict[str, Any]:
    """Where and with what something is done."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "versions": {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := _version(p))},
        "commit": commit(Path(__file__).parent),
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "threads": torch.get_num_threads(),
            "memory_gib": round(memory, 1),
            "gpus": gpus,
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit(folder: Path) -> str | None:
    """The git commit of a folder, with "+changes" behind it where files differ from it; None outside of a checkout."""
    try:
        told = [
            subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=60, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return told[0].strip() + ("+changes" if told[1].strip() else "")
