"""Tasks and lazy task sequences whose splits never share a task."""

import hashlib
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import msgspec

from agentgym.errors import UserError

SPLITS = ("train", "validation", "test")
_TRIES = 1000  # draws before a generator is given up


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing to do.

    Attributes:
        prompt: The request in words.
        data: What the environment needs to set up and judge the task; plain JSON values. The agent never sees it.
        id: Unique in its environment; procedural tasks are called ``<split>-<index>``.
        split: One of `SPLITS`.
        difficulty: A name such as "easy", or empty.
        origin: How it, or what was done for it, came to be, where a program made it: the method and what that began with.
    """

    prompt: str
    data: dict[str, Any] = {}
    id: str = ""
    split: str = "train"
    difficulty: str = ""
    origin: dict[str, Any] = {}


class Tasks(Sequence[Task]):
    """A lazy, sliceable sequence of tasks; procedural ones are as good as infinite (`infinite` is True).

    Args:
        get: Makes task number i.
        index: The numbers that this sequence shows; slicing slices it.
    """

    def __init__(self, get: Callable[[int], Task], index: range) -> None:
        self._get = get
        self._index = index

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> "Tasks":
        """A finite sequence of ready tasks; those without an id are called ``<split>-<index>``."""
        ready = [t if t.id else msgspec.structs.replace(t, id=f"{t.split}-{i}") for i, t in enumerate(tasks)]
        return cls(ready.__getitem__, range(len(ready)))

    @property
    def infinite(self) -> bool:
        """Whether there is no end to be reached."""
        return len(self._index) > sys.maxsize // 2

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Task]:
        return map(self._get, self._index)

    @overload
    def __getitem__(self, key: int) -> Task: ...
    @overload
    def __getitem__(self, key: slice) -> "Tasks": ...
    def __getitem__(self, key: int | slice) -> "Task | Tasks":
        if isinstance(key, slice):
            return Tasks(self._get, self._index[key])
        return self._get(self._index[key])


def check_split(split: str) -> str:
    """Return `split`, or raise `UserError` when there is no such split."""
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}: use one of {', '.join(SPLITS)}")
    return split


def procedural(
    generate: Callable[[random.Random], Task], split: str, same: Callable[[Task], Any] = lambda task: (task.prompt, task.data)
) -> Tasks:
    """An endless split of generated tasks, the same on every machine.

    A task belongs to the split that a hash of its content names (half of all content is train, a quarter each validation
    and test), so two splits can never share a task, however small the generator's space; each index draws until it fits.

    Args:
        generate: Makes a task from a random generator, cheaply; world building belongs into the environment's reset.
        split: One of `SPLITS`.
        same: What makes two tasks the same task; its hash decides on the split. Give the data alone where one task has many
            wordings, so that no wording of a training task is a test task.

    Raises:
        UserError: an unknown split, or a generator that never makes a task of this split.
    """
    check_split(split)

    def get(i: int) -> Task:
        for attempt in range(_TRIES):
            task = generate(random.Random(f"{split}/{i}/{attempt}"))
            if split_of(same(task)) == split:
                return msgspec.structs.replace(task, id=f"{split}-{i}", split=split)
        raise UserError(f"no {split} task in {_TRIES} draws: the generator makes too few different tasks")

    return Tasks(get, range(sys.maxsize))


def levels_of(level: str | None, known: Iterable[str]) -> tuple[str, ...]:
    """The levels of difficulty that an argument names: that one, or all for None.

    Raises:
        UserError: there is no such level.
    """
    levels = tuple(known)
    if level not in (None, *levels):
        raise UserError(f"there is no level {level!r}: use one of {', '.join(levels)}")
    return levels if level is None else (level,)


def split_of(identity: Any) -> str:
    """The split that a hash of a task's content (`same`, in `procedural`) names."""
    content = msgspec.json.encode(identity, order="deterministic")
    return ("train", "train", "validation", "test")[hashlib.blake2b(content, digest_size=1).digest()[0] % 4]
