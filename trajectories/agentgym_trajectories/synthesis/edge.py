"""EDGE (Zhang et al. 2025, arXiv:2502.12494): what a guideline does to rewards says which tasks it does not cover.

``guideline effectiveness = mean reward of tries with the guideline - mean reward of tries without``; the tasks where it is least
are kept: they carry what the guideline lacks, and are worth a label or a line in it. Tries with the guideline are recorded
without it.

The selector ``edge`` measures the effect on the likelihood of what was recorded; this is the paper's, on what is done.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentgym import UserError
from agentgym_trajectories.select import Selector
from agentgym_trajectories.select.ranked import Ranked
from agentgym_trajectories.synthesis.base import Method
from agentgym_trajectories.synthesis.scene import Scene, whisper
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True)
class Edge(Method):
    """Keep the share `keep` of tasks that the text of the file `guideline` helps least with, by `tries` with and without it."""

    guideline: Path
    tries: int = 2
    keep: float = 0.5

    def __post_init__(self) -> None:
        if not self.guideline.is_file():
            raise UserError(f"there is no guideline {self.guideline}: give a text file")

    async def play(self, scene: Scene) -> None:
        """All tries of a task."""
        told = whisper(self.guideline.read_text("utf-8").strip())
        without = [await scene.attempt() for _ in range(self.tries)]
        with_it = [await scene.attempt(told) for _ in range(self.tries)]
        without[0].need_verdict()
        mean = [statistics.fmean(t.reward for t in tried) for tried in (with_it, without)]
        scene.origin |= {"effect": mean[0] - mean[1], "without": mean[1]}

    def selectors(self) -> Sequence[Selector[Trajectory]]:
        """Those of the least effect."""
        return (Uncovered(keep=self.keep),)


@dataclass(frozen=True, kw_only=True)
class Uncovered(Ranked):
    """Keep the share `keep` of trajectories whose tasks a guideline helped least with."""

    def scores(self, items: Sequence[Trajectory]) -> Sequence[float]:
        """Minus the effect that was measured."""
        return [-float(t.episode.task.origin["effect"]) for t in items]
