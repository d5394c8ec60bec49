"""Reflection-Tuning (Li et al. 2023, arXiv:2310.11716): a model reflects on instruction and answer, and betters both.

The instruction is criticised (is it specific, clear, worth answering, not trivial?) and written anew; its answer is then
criticised and refined as in `ilf`.

Departure: the paper asks for criticism and betterment in one text; here they are two turns, so that each can be read alone.
"""

from dataclasses import dataclass

from agentgym_trajectories.synthesis.base import Writer
from agentgym_trajectories.synthesis.ilf import refine
from agentgym_trajectories.synthesis.scene import Scene

CRITIQUE = """Instruction:
{prompt}

How good is it to learn from: how specific, how clear, how demanding? Say what to better, in a few sentences."""
BETTER = """Instruction:
{prompt}

What was said about it:
{critique}

Write the better instruction, and nothing else."""


@dataclass(frozen=True)
class Reflection(Writer):
    """Better the environment's instructions, then the answers to them, each of which is refined `refinements` times."""

    refinements: int = 1
    seeded = True
    roles = ("critic",)

    async def write(self, scene: Scene) -> str:
        """The better instruction."""
        seed = scene.task.prompt
        critique = await scene.ask(CRITIQUE.format(prompt=seed), "critic")
        scene.origin |= {"instead_of": seed, "about_the_instruction": critique}
        return await scene.ask(BETTER.format(prompt=seed, critique=critique), "critic")

    async def play(self, scene: Scene) -> None:
        """Both."""
        scene.become(await self.write(scene))
        await refine(scene, self.refinements)
