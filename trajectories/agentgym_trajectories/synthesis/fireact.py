"""FireAct (Chen et al. 2023, arXiv:2310.05915): successes of several ways of prompting, mixed, teach when to act in which way.

Each task is done by acting step by step (ReAct), by thinking it through and answering at once (CoT), and in several tries with
reflection (Reflexion); what solves it is kept, and says which way it was. Models that learn one conversation's form from all
three are less easily led astray than those taught by one.

Departure: reflections stand in the conversation of the next try, as the program `reflexion` records them; the paper writes them
into the thoughts of one trajectory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym_trajectories.programs import program_named
from agentgym_trajectories.select import Reward, Selector
from agentgym_trajectories.synthesis.base import Method
from agentgym_trajectories.synthesis.scene import Scene, whisper
from agentgym_trajectories.tree import Trajectory

WAYS = ("react", "cot", "reflexion")
COT = "Use no tools. Think the question through, step by step, and give the answer in this one turn."


@dataclass(frozen=True)
class FireAct(Method):
    """Do each task in `samples` episodes, by acting, by thinking, and with reflection in turn."""

    samples: int = 3
    roles = ("reflector",)

    async def play(self, scene: Scene) -> None:
        """In one of the ways."""
        way = WAYS[scene.episode.sample % len(WAYS)]
        scene.origin["way"] = way
        if way == "reflexion":
            await scene.attempt(program=program_named(way, scene.samplers).play)
        else:
            await scene.attempt(whisper(COT) if way == "cot" else None)

    def selectors(self) -> Sequence[Selector[Trajectory]]:
        """What solved its task."""
        return (Reward(min=1.0),)
