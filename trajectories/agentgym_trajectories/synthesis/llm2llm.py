"""LLM2LLM (Lee et al. 2024, arXiv:2403.15042): a teacher writes new tasks where the student fails, and only there.

The student does a task of the environment. What it solves gives nothing new. Where it fails, the teacher is shown the task and
the wrong answer and writes another one of the same kind, which it then does itself; the student is trained on that, and so on.
New tasks come of given ones alone, never of those that a teacher wrote, or its mistakes would grow from round to round.
"""

from dataclasses import dataclass

from agentgym_trajectories.synthesis.base import Writer
from agentgym_trajectories.synthesis.scene import Scene, did

ASK = """A student failed at this task:
{prompt}

What the student did:
{answer}

Write another task of the same kind and difficulty, with other content, that trains what the student lacks, and nothing else."""


@dataclass(frozen=True)
class Llm2llm(Writer):
    """Let the teacher write and solve a task like each one that the policy fails at."""

    seeded = True
    roles = ("teacher",)

    async def play(self, scene: Scene) -> None:
        """Try, and be taught."""
        tried = await scene.attempt()
        tried.need_verdict()
        if tried.success:
            return scene.drop(tried, "the student solves it")
        scene.origin |= {"instead_of": scene.task.prompt, "failed": did(tried)}
        scene.become(await self.write(scene))
        await scene.attempt(role="teacher")
        return None

    async def write(self, scene: Scene) -> str:
        """A task like the one that was failed."""
        return await scene.ask(ASK.format(prompt=scene.task.prompt, answer=scene.origin["failed"]), "teacher")
