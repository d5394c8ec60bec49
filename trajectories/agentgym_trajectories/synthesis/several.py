"""Several samplers for each task, as in FuseChat (Wan et al. 2024, arXiv:2402.16107) and UltraFeedback (Cui et al., 2310.01377).

FuseChat has every source model answer every prompt: one episode for each policy. UltraFeedback draws four of a pool for each
prompt, and a principle for each answer that the model is told and the record is not. Which answer is the better one is for the
environment's rubric, and for `agentgym pairs --by outcome`.

Departure: UltraFeedback's authors draw principles by the prompt's data set; here each is as likely as another.
"""

import random
from dataclasses import dataclass

from agentgym import UserError
from agentgym_trajectories.synthesis.base import Method
from agentgym_trajectories.synthesis.scene import Scene, whisper

PRINCIPLES = {
    "helpfulness": "Be as useful as you can: understand what is wanted, and leave nothing out that serves it.",
    "truthfulness": "Say only what is true, as far as you know, and contradict neither the request nor yourself.",
    "honesty": "Say how sure you are, and say so where you do not know.",
    "following instructions": "Do exactly what was asked, in the form and within the limits that were given.",
}


@dataclass(frozen=True)
class Several(Method):
    """Have each task done by `samples` of the policies, that of --policy and those of all roles."""

    roles = None
    samples: int = 4
    principles: bool = False

    async def play(self, scene: Scene) -> None:
        """The same policies for a task at each of its episodes, each in its turn."""
        pool = ["", *sorted(scene.samplers)]
        if len(pool) < 2:
            raise UserError("several needs several policies: give --role NAME=POLICY beside --policy")
        drawn = random.Random(scene.task.id).sample(pool, len(pool))
        by = drawn[scene.episode.sample % len(drawn)]
        principle = scene.rng.choice(sorted(PRINCIPLES)) if self.principles else ""
        scene.origin |= {"by": scene.who(by).version} | ({"principle": principle} if principle else {})
        await scene.attempt(whisper(PRINCIPLES[principle]) if principle else None, by)
