"""Task files as their authors publish them: JSON lines, a JSON array or a saved dataset, in one file or one for each split."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from agentgym import Task, Tasks, UserError
from agentgym.errors import NotInstalled
from agentgym.tasks import SPLITS, check_split

Row = dict[str, Any]
FILES = {"dev": "validation", "valid": "validation", "standard": "test"}  # what else files of a split are called


SAVED = "state.json"  # in every directory that `Dataset.save_to_disk` makes


def tasks_of(path: str, convert: Callable[[Row, str], Task], split: str, *, repeated: bool = False) -> Tasks:
    """The tasks of one split of a file, or of a directory of such files.

    Args:
        path: A ``.jsonl`` or ``.json`` file, a directory of them, or a directory of `Dataset.save_to_disk` or that of a
            `DatasetDict`.
        convert: Makes a task of a row, given the split that the file's name says; one without a split of its own belongs to
            the file's, or to the one that a hash of the task names (half train, a quarter each validation and test).
        split: One of `SPLITS`.
        repeated: Whether equal rows are one task, as in lists that nobody has cleaned; otherwise they are a mistake.

    Raises:
        UserError: no such file or split, a row that is none of this format, or a dataset without the package that reads it.
    """
    check_split(split)
    place = Path(path)
    if not place.exists():
        raise UserError(f"there is no file {path}: give the tasks' JSON lines with data=PATH")
    stats = ((f, (f / SAVED if f.is_dir() else f).stat()) for f in _files(place))
    changed = tuple((f, stat.st_mtime_ns, stat.st_size) for f, stat in stats)
    return Tasks.of(t for t in _load(changed, convert, repeated) if t.split == split)


def _files(place: Path) -> list[Path]:
    """Files, or directories of datasets."""
    if not place.is_dir() or (place / SAVED).exists():
        return [place]
    saved = [f for f in place.iterdir() if (f / SAVED).exists()]  # of a `DatasetDict`, which has a JSON file of its own
    return sorted(saved or (f for f in place.iterdir() if f.suffix in (".jsonl", ".json")))


@functools.lru_cache(maxsize=8)
def _load(files: tuple[tuple[Path, int, int], ...], convert: Callable[[Row, str], Task], repeated: bool) -> tuple[Task, ...]:
    found: dict[str, Task] = {}
    for file, *_ in files:
        stem = file.stem.rpartition("_")[2].rpartition("-")[2]
        named = stem if stem in SPLITS else FILES.get(stem, "")
        for number, row in enumerate(_rows(file), 1):
            try:
                task = convert(row, named)
            except (KeyError, TypeError, ValueError, SyntaxError, AttributeError) as error:
                raise UserError(f"{file}, row {number}: {type(error).__name__}: {error}; is it of this format?") from error
            known = found.setdefault(task.id, task)
            if known is not task and not (repeated and known == task):
                raise UserError(f"{file}, row {number}: there is a second task {task.id!r}: give each an id of its own")
    if not found:
        raise UserError(f"{', '.join(f.name for f, *_ in files) or 'the directory'} has no tasks: give a file of JSON lines")
    return tuple(found.values())


def _rows(file: Path) -> Iterator[Row]:
    if file.is_dir():
        yield from _dataset(file)
        return
    text = file.read_bytes()
    try:
        if text.lstrip()[:1] == b"[":
            yield from msgspec.json.decode(text, type=list[Row])
        else:
            yield from (msgspec.json.decode(line, type=Row) for line in text.splitlines() if line.strip())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is neither JSON lines nor a JSON array of objects: {error}") from error


def _dataset(directory: Path) -> Iterator[Row]:
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise NotInstalled(f"{directory} needs more ({error}): pip install 'agentgym[export]'") from error
    try:
        yield from load_from_disk(str(directory))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{directory} is no dataset ({error}): save it again with save_to_disk") from error


def split_by_hash(identity: str) -> str:
    """The split of a task that nobody has assigned to one."""
    return ("train", "train", "validation", "test")[hashlib.blake2b(identity.encode(), digest_size=1).digest()[0] % 4]
