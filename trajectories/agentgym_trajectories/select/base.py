"""What a selector is: it passes some trajectories (or pairs) on and says of each other one why it did not.

A selector is a frozen dataclass: its fields are its options, its docstring's first line is its help. Calling it streams::

    @dataclass(frozen=True)
    class Short(Selector[Trajectory]):
        \"\"\"Keep short ones.\"\"\"

        turns: int = 5

        def __call__(self, items, drop):
            for t in items:
                if len(t.actions) <= self.turns:
                    yield t
                else:
                    drop(t, f"{len(t.actions)} turns")
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

import pydantic

from agentgym import UserError

T = TypeVar("T")
Drop = Callable[[T, str], None]


class Selector(ABC, Generic[T]):
    """A way to choose among items of one type."""

    @abstractmethod
    def __call__(self, items: Iterable[T], drop: Drop[T]) -> Iterator[T]:
        """Yield what is kept; call ``drop(item, reason)`` for everything else."""


def apply(items: Iterable[T], selectors: Sequence[Selector[T]]) -> Iterator[tuple[T, str]]:
    """Run selectors one after the other, each over what the one before kept.

    Yields:
        Every item once, with the reason why it was dropped (``selector: reason``) or an empty string.
    """
    dropped: list[tuple[T, str]] = []

    def drop(name: str, item: T, reason: str) -> None:
        dropped.append((item, f"{name}: {reason}"))

    stream = items
    for selector in selectors:
        stream = selector(stream, partial(drop, type(selector).__name__.lower()))
    for item in stream:
        yield from dropped
        dropped.clear()
        yield item, ""
    yield from dropped


def parse(spec: str, known: Mapping[str, type[T]], what: str = "selector") -> T:
    """A selector, or another frozen dataclass, from ``name`` or ``name:option=value,option=value``.

    Args:
        spec: As written.
        known: Classes by name.
        what: They are called in errors.

    A value alone, ``name:value``, is that of the first option.

    Raises:
        UserError: no such selector, no such option, or a value of the wrong type.
    """
    name, _, rest = spec.partition(":")
    if name not in known:
        raise UserError(f"there is no {what} {name!r}: use one of {', '.join(known)}")
    fields = known[name].__dataclass_fields__  # type: ignore[attr-defined]
    given = [part.partition("=") for part in rest.split(",") if part]
    options = {option if equals else next(iter(fields), option): value if equals else option for option, equals, value in given}
    if unknown := [option for option in options if option not in fields]:
        raise UserError(f"{what} {name!r} has no option {unknown[0]!r}: it has {', '.join(fields) or 'none'}")
    try:
        return pydantic.TypeAdapter(known[name]).validate_python(options)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{what} {name!r}, option {first['loc'][0]!r}: {first['msg']}") from error
