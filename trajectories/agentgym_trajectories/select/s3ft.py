"""S3FT (Gupta et al. 2025, arXiv:2502.08130): learn from one's own answer where it is right, from the gold one where it is not.

For each task the first own attempt that succeeded, as the environment's verdict or a judge's has it, stands in for the gold
trajectory: it says the same in the model's own words, so less of the model has to change. Tasks without one keep the gold.

The paper asks a judge for equivalence with the gold and has the model rephrase the gold where its own answer is wrong; the second
step is left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agentgym_trajectories.select.base import Drop, Selector
from agentgym_trajectories.select.ranked import task_of
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True)
class S3ft(Selector[Trajectory]):
    """Of each task keep the first own success, else what the policy `gold` did."""

    gold: str = "oracle"

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Reads all first; the order stays."""
        given = list(items)
        groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for i, t in enumerate(given):
            groups[task_of(t)].append(i)
        kept = set[int]()
        for group in groups.values():
            own = [i for i in group if not self._is_gold(given[i]) and given[i].success]
            kept.update(own[:1] or [i for i in group if self._is_gold(given[i])][:1])
        for i, t in enumerate(given):
            if i in kept:
                yield t
            elif self._is_gold(t):
                drop(t, "there is an own success")
            else:
                drop(t, "another own success was first" if t.success else "wrong")

    def _is_gold(self, t: Trajectory) -> bool:
        return t.episode.version.partition("@")[0] == self.gold
