"""Keep by final reward, as AgentTuning does (Zeng et al. 2023, arXiv:2310.12823): only what succeeded is worth imitating."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agentgym_trajectories.select.base import Drop, Selector
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True)
class Reward(Selector[Trajectory]):
    """Keep trajectories whose summed reward is at least `min`."""

    min: float = 1.0

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Stream."""
        for t in items:
            if not t.judged:
                drop(t, "nobody said what it was worth")
            elif t.reward >= self.min - 1e-9:
                yield t
            else:
                drop(t, f"reward {t.reward:g} is under {self.min:g}")
