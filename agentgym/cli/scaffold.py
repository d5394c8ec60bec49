"""A small package with one complete environment, to be changed into your own."""

import importlib.util
import keyword
import re
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

from agentgym.errors import UserError

_FILES = {
    "pyproject.toml": "pyproject.toml.template",
    "README.md": "README.md.template",
    "{name}.py": "module.py.template",
    "test_{name}.py": "test.py.template",
}


def environment_id(name: str) -> str:
    """The id of the environment in package `name`: ``my_env`` gives ``my_env/MyEnv-v0``."""
    return f"{name}/{_class_name(name)}-v0"


def create(name: str, parent: Path) -> Path:
    """Write the package into the new folder ``parent/name``, all of it or nothing.

    Raises:
        UserError: `name` cannot be used, the folder exists, or `parent` does not.
    """
    _check_name(name)
    target = parent.resolve() / name
    if target.exists():
        raise UserError(f"{target} exists already: choose another name, or another place with --dir")
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {target.parent}: make it first")
    words = {"name": name, "cls": _class_name(name), "env_id": environment_id(name)}
    templates = files("agentgym.cli") / "templates"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        for path, template in _FILES.items():
            text = Template((templates / template).read_text("utf-8")).substitute(words)
            (folder / path.format(name=name)).write_text(text, "utf-8")
        folder.rename(target)
    return target


def install(folder: Path) -> bool:
    """Install the package in editable mode into this interpreter; False when that cannot be done."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-e", str(folder)]
    # An isolated build downloads its backend; where the backend is here already, that needs no network.
    has_backend = all(importlib.util.find_spec(module) for module in ("hatchling", "editables"))
    tries = [[*command, "--no-build-isolation"], command] if has_backend else [command]
    return any(subprocess.run(t, capture_output=True, check=False).returncode == 0 for t in tries)


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(f"{name!r} cannot be a package: use lower-case letters, digits and underscores, as in my_env")
    found = importlib.util.find_spec(name)
    if found is not None and found.origin is not None:  # a mere folder of that name has no origin
        raise UserError(f"there is a Python module {name!r} already ({found.origin}): choose another name")
