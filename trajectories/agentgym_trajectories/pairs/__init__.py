"""Preference pairs from search trees and from groups of trajectories. A new maker or filter is a dataclass, and a line here."""

from .base import Filter, Maker, Pair, make_pairs
from .filters import Cap, Distinct, Diverse, Likely, Margin
from .outcome import Outcome, Rso, Spin
from .step import Step

MAKERS: dict[str, type[Maker]] = {m.__name__.lower(): m for m in (Step, Outcome, Spin, Rso)}
FILTERS: dict[str, type[Filter]] = {f.__name__.lower(): f for f in (Distinct, Cap, Margin, Likely, Diverse)}

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
]
