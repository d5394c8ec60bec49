"""Preference pairs from search trees and from groups of trajectories. A new maker or filter is a dataclass, and a line here."""

from collections.abc import Iterable

from agentgym import UserError
from agentgym_trajectories import select as selecting

from .base import Filter, Maker, Pair, make_pairs
from .filters import Cap, Distinct, Diverse, Likely, Margin
from .outcome import Outcome, Rso, Spin
from .step import Step

MAKERS: dict[str, type[Maker]] = {m.__name__.lower(): m for m in (Step, Outcome, Spin, Rso)}
FILTERS: dict[str, type[Filter]] = {f.__name__.lower(): f for f in (Distinct, Cap, Margin, Likely, Diverse)}


def parse(specs: Iterable[str]) -> tuple[list[Maker], list[Filter]]:
    """Makers and filters, each in their order, from specs such as ``step:theta=0.2,visits=2`` and ``distinct``.

    Raises:
        UserError: none of them makes pairs, or one cannot be read.
    """
    known: dict[str, type[Maker] | type[Filter]] = {**MAKERS, **FILTERS}
    chosen = [selecting.parse(spec, known, "maker or filter of pairs") for spec in specs]
    makers = [c for c in chosen if isinstance(c, Maker)]
    if not makers:
        raise UserError(f"nothing makes pairs: give one of {', '.join(MAKERS)} too")
    return makers, [c for c in chosen if isinstance(c, Filter)]


__all__ = [
    "FILTERS",
    "MAKERS",
    "Cap",
    "Distinct",
    "Diverse",
    "Filter",
    "Likely",
    "Maker",
    "Margin",
    "Outcome",
    "Pair",
    "Rso",
    "Spin",
    "Step",
    "make_pairs",
    "parse",
]
