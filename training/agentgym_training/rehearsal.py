"""Does a recipe name only what there will be? Asked before anything is done, since a stage may come after hours."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .stages import Rounds, Stage
from .stages.base import NO_POLICY, Defaults

POLICIES = ("policy", "model")
ORIGIN = {"selection": "select", "pairs": "pairs"}  # the stage that makes it


def missing(defaults: Defaults, stages: Sequence[Stage]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """What stages name that none before them makes.

    Args:
        defaults: Of the recipe.
        stages: Its stages.

    Yields:
        The keys under which it stands in the recipe, and what is wrong.
    """
    yield from _missing(stages, {"policy", "first"} if defaults.policy is not None else set())


def _missing(stages: Sequence[Stage], policies: set[str], before: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    made: set[tuple[str, str, str]] = set()  # what, in which store, its name
    for i, stage in enumerate(stages):
        where = (*before, "stages", i)
        for what, key, name in stage.names():
            there = sorted(policies) if what in POLICIES else sorted(n for w, s, n in made if (w, s) == (what, stage.store))
            if name in there or (what in POLICIES and _is_path(name)):
                continue
            yield (*where, key), _told(what, name, there)
        if isinstance(stage, Rounds):
            yield from _missing(stage.stages, policies | {"previous"}, where)
        if stage.makes in POLICIES:
            policies.add(stage.name)
        if stage.makes == "policy":
            policies |= {"policy", "first"}
        made.add((stage.makes, stage.store, stage.name))


def _is_path(name: str) -> bool:
    return "/" in name or Path(name).is_dir()


def _told(what: str, name: str, there: Sequence[str]) -> str:
    if what in POLICIES and not there:
        return NO_POLICY
    known = ", ".join(there) or "none"
    if what in POLICIES:
        return f"there is no policy {name!r} by then: name one of {known}, or a model directory"
    return f"no stage `{ORIGIN[what]}` before it, of the same store, is called {name!r}: there is {known}"
