"""Self-training without demonstrations (Luo et al. 2025, arXiv:2502.05867): tool use learnt from a model's own zero-shot traces.

No example of tool use is shown; the model is told in words how to go about it, and tries each task several times. Traces whose
answer is right are kept, one of equal ones, as if nothing had been told. Right against wrong traces are pairs (`agentgym pairs
--by outcome`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym_trajectories.select import Duplicates, Reward, Selector
from agentgym_trajectories.synthesis.base import Method
from agentgym_trajectories.synthesis.scene import Scene, whisper
from agentgym_trajectories.tree import Trajectory

TOLD = """Think before each step about what you know and what you lack. Call a tool for what you lack, one step at a time, and
read what it says before you go on. Do not guess what a tool could tell you. When you know enough, give the answer alone."""


@dataclass(frozen=True)
class SelfTraining(Method):
    """Keep those of `samples` zero-shot traces of each task that succeed."""

    samples: int = 8

    async def play(self, scene: Scene) -> None:
        """One try."""
        await scene.attempt(whisper(TOLD))

    def selectors(self) -> Sequence[Selector[Trajectory]]:
        """What is right, once."""
        return (Reward(min=1.0), Duplicates())
