"""Keep by the number of the agent's mistakes: a trajectory can succeed and still teach broken calls."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agentgym_trajectories.select.base import Drop, Selector
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True)
class Errors(Selector[Trajectory]):
    """Keep trajectories with at most `max` mistakes of the agent."""

    max: int = 0

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Stream."""
        for t in items:
            if len(t.errors) <= self.max:
                yield t
            else:
                drop(t, f"{len(t.errors)} mistake{'s' * (len(t.errors) > 1)}, the first {t.errors[0]}")
