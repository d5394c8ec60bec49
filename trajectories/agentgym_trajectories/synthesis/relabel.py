"""Hindsight relabelling (HIR; Zhang et al. 2023, arXiv:2302.05206): what was done was the right thing to do for another request.

A task that failed is given the request that what was done fulfils; asked again, the labeller has to agree that it does, wholly.
No try is wasted, and none is learnt as an answer to what it does not answer.

Departure: the paper derives the new instruction by rules, in tasks that have such; here a sampler names it, in any environment.
Where an environment has rules of its own, `agentgym collect --hindsight rules` explores and names by them.
"""

from dataclasses import dataclass

from agentgym import user
from agentgym_trajectories.hindsight import JUDGE, NAME
from agentgym_trajectories.synthesis.base import Method
from agentgym_trajectories.synthesis.scene import Scene


@dataclass(frozen=True)
class Relabel(Method):
    """Give each task that failed the request that was fulfilled instead."""

    roles = ("labeller",)

    async def play(self, scene: Scene) -> None:
        """Try, name, and ask again."""
        done = await scene.attempt()
        if done.judged and done.success:
            return None
        request = await scene.ask([*done.messages, user(NAME)], "labeller")
        if request.strip(" .").upper() == "NONE":
            return scene.drop(done, "it is the right answer to nothing")
        again = scene.reword(done, request)
        fulfilled = await scene.agrees([*again.messages, user(JUDGE)], "labeller")
        scene.judge(again, fulfilled)
        if not fulfilled:
            scene.drop(again, "it does not fulfil the request that was found for it")
        return None
