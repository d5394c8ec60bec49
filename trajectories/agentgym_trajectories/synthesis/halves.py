"""Non-instructional halves (Xie et al. 2024, arXiv:2409.00096): instruction following from text that instructs nobody.

The first half of a text, by words, is the request, and a strong model writes on from there. A model that learns to do so follows
instructions better, though it saw none. Texts are the prompts of the environment's tasks; second halves are kept in the origin.
"""

from dataclasses import dataclass

from agentgym_trajectories.synthesis.base import Writer
from agentgym_trajectories.synthesis.scene import Scene


@dataclass(frozen=True)
class Halves(Writer):
    """Write on from the first half of each task's text."""

    seeded = True

    async def write(self, scene: Scene) -> str:
        """The first half."""
        words = scene.task.prompt.split(" ")
        middle = (len(words) + 1) // 2
        scene.origin["rest"] = " ".join(words[middle:])
        return " ".join(words[:middle])
