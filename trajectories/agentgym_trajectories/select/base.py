"""What a selector is: it passes some trajectories on and says of each other one why it did not.

A selector is a frozen dataclass: its fields are its options, its docstring's first line is its help. Calling it streams::

    @dataclass(frozen=True)
    class Short(Selector):
        \"\"\"Keep short ones.\"\"\"

        turns: int = 5

        def __call__(self, trajectories, drop):
            for t in trajectories:
                if len(t.actions) <= self.turns:
                    yield t
                else:
                    drop(t, f"{len(t.actions)} turns")
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import pydantic

from agentgym import UserError
from agentgym_trajectories.tree import Trajectory

T = TypeVar("T")
Drop = Callable[[Trajectory, str], None]


class Selector(ABC):
    """A way to choose among trajectories."""

    @abstractmethod
    def __call__(self, trajectories: Iterable[Trajectory], drop: Drop) -> Iterator[Trajectory]:
        """Yield what is kept; call ``drop(trajectory, reason)`` for everything else."""


def apply(trajectories: Iterable[Trajectory], selectors: Sequence[Selector]) -> Iterator[tuple[Trajectory, str]]:
    """Run selectors one after the other, each over what the one before kept.

    Yields:
        Every trajectory once, with the reason why it was dropped (``selector: reason``) or an empty string.
    """
    dropped: list[tuple[Trajectory, str]] = []

    def drop(name: str, trajectory: Trajectory, reason: str) -> None:
        dropped.append((trajectory, f"{name}: {reason}"))

    stream: Iterable[Trajectory] = trajectories
    for selector in selectors:
        stream = selector(stream, partial(drop, type(selector).__name__.lower()))
    for trajectory in stream:
        yield from dropped
        dropped.clear()
        yield trajectory, ""
    yield from dropped


def parse(spec: str, known: Mapping[str, type[T]]) -> T:
    """A selector (or another frozen dataclass) from ``name`` or ``name:option=value,option=value``.

    Raises:
        UserError: no such selector, no such option, or a value of the wrong type.
    """
    name, _, rest = spec.partition(":")
    if name not in known:
        raise UserError(f"there is no selector {name!r}: use one of {', '.join(known)}")
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    fields = known[name].__dataclass_fields__  # type: ignore[attr-defined]
    if unknown := [option for option in options if option not in fields]:
        raise UserError(f"selector {name!r} has no option {unknown[0]!r}: it has {', '.join(fields) or 'none'}")
    try:
        return pydantic.TypeAdapter(known[name]).validate_python(options)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"selector {name!r}, option {first['loc'][0]!r}: {first['msg']}") from error
