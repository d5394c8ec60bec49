"""Non-instructional halves (Xie et al. 2024, arXiv:2409.00096): instruction following from text that instructs nobody.

The first half of a text, by words, is the request, and a strong model writes on from there. A model that learns to do so follows
instructions better, though it saw none. Texts are the prompts of the environment's tasks; second halves are kept in the origin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym_trajectories.select import Near, Selector
from agentgym_trajectories.synthesis.base import Method
from agentgym_trajectories.synthesis.scene import Scene
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True)
class Halves(Method):
    """Write on from the first half of each task's text."""

    async def play(self, scene: Scene) -> None:
        """Cut, and go on."""
        words = scene.task.prompt.split(" ")
        middle = (len(words) + 1) // 2
        scene.become(" ".join(words[:middle]), rest=" ".join(words[middle:]))
        await scene.attempt()

    def selectors(self) -> Sequence[Selector[Trajectory]]:
        """Without near duplicates."""
        return (Near(of="request"),)
