"""Preference pairs: two trajectories of one task, the better and the worse."""

from dataclasses import dataclass

from .tree import Trajectory


@dataclass(frozen=True)
class Pair:
    """A preference between two trajectories of one task.

    Attributes:
        chosen: The better one; may end at an inner action of a tree.
        rejected: The worse one.
        first: How many first actions of both sides are shared and carry no loss.
        margin: By how much the chosen one is better.
        confidence: That it is better, from 0 to 1.
        method: What made the pair.
        reason: Why.
    """

    chosen: Trajectory
    rejected: Trajectory
    first: int
    margin: float
    confidence: float = 1.0
    method: str = ""
    reason: str = ""
