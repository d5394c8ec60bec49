"""Files that are there whole or not at all, whenever the process is killed."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def at_once(path: Path) -> Iterator[Path]:
    """Where to write a file or directory that is to be at `path`: it gets there, in place of a file, when all is written."""
    part = path.with_name(f"{path.name}.part")
    if part.is_dir():  # of a process that was killed
        shutil.rmtree(part)
    yield part
    part.replace(path)


def keep_lines(path: Path, wanted: Callable[[Any], bool]) -> list[Any]:
    """Drop all lines of JSON from a file but the wanted ones, at once; what a kill cut off goes too. Returns their values."""
    written = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = [value for value in (json.loads(line) for line in written if line.endswith("\n")) if wanted(value)]
    with at_once(path) as part:
        part.write_text("".join(json.dumps(value) + "\n" for value in kept))
    return kept


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with at_once(path) as part:
        part.write_text(json.dumps(value))
