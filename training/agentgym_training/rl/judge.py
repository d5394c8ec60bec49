"""A judge: a language model that reads what was done and says how well, as a reward.

It is asked once about each trajectory, about all of a batch at the same time, before anything is computed with the answers. What
it says is no fact: a judge that gives no number is asked again, and an episode of which it gives none is left out, as one that an
environment failed in; it is never scored 0.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentgym.judging import asked, rating
from agentgym.partners import Model
from agentgym.sampling import Sampler
from agentgym_trajectories.search.critique import shown
from agentgym_trajectories.tree import Trajectory

QUESTION = """\
This is what an agent was asked, what it did, and what came of it:

{}

How well did the agent do what it was asked, from 0 (not at all) to 10 (perfectly)? Answer with the number alone."""


@dataclass(frozen=True)
class Judge:
    """See the module.

    Attributes:
        policy: What the judge is called on the command line.
        sampler: Writes its answers.
    """

    policy: str
    sampler: Sampler = field(repr=False)

    async def __call__(self, trajectories: Sequence[Trajectory]) -> list[float | None]:
        """Of each trajectory a number in [0, 1]; None where the judge does not give one.

        Raises:
            UserError: its server refuses all requests.
        """
        return await asyncio.gather(*map(self._one, trajectories))

    async def _one(self, trajectory: Trajectory) -> float | None:
        identity = f"{trajectory.episode.task.id}/{trajectory.episode.sample}/{trajectory.leaf.id}"
        return await asked(Model(self.sampler), QUESTION.format(transcript(trajectory)), verdict, identity)


def verdict(text: str) -> float | None:
    """The last number of an answer, if it is one from 0 to 10, as a number in [0, 1]."""
    return rating(text, 0, 10)


def transcript(trajectory: Trajectory) -> str:
    """A conversation as a judge reads it, one line for each action."""
    lines = (f"{m.role}: {shown(m) if m.role == 'assistant' else m.content}" for m in trajectory.messages)
    return "\n".join(lines)
