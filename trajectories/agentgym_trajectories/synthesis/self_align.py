"""Self-Align (Sun et al. 2023, arXiv:2305.03047): a few principles, written once by people, in the place of labels.

The model is told the principles and says to itself which of them a request calls for; then it answers under both. The record has
the request and the answer alone ("principle engraving"), so that the trained model answers so untold.

Departures: the internal thoughts are a turn of their own, so that an answer's tokens stand alone; the principles are ours, in
the place of sixteen with examples; requests are the environment's tasks (those of `magpie` or `genqa`, say) in the place of
topic-guided ones.
"""

from dataclasses import dataclass
from pathlib import Path

from agentgym import UserError
from agentgym_trajectories.synthesis.base import Method
from agentgym_trajectories.synthesis.scene import Scene, whisper

PRINCIPLES = """1 (ethical). Help with nothing that is unlawful or does harm, and say why.
2 (informative). Give what is accurate and of use, beyond the obvious.
3 (candid). Say so where you do not know, cannot do it, or the request rests on something false.
4 (reasoned). Work out what takes several steps before you answer.
5 (balanced). Where people differ with reason, give their views and yours none before the others.
6 (clear). Ask for what is missing where the request could mean several things.
7 (current). Say that you may not know of it where the answer could have changed since you learnt it.
8 (fitting). Keep to the form and length that the request asks for."""
THINK = """{principles}

Request:
{request}

Do not answer yet. Say which of these principles it calls for, and what each asks of the answer."""
ANSWER = """Keep to these principles, without mentioning them.
{principles}

Your thoughts about this request:
{thoughts}"""


@dataclass(frozen=True)
class SelfAlign(Method):
    """Answer by principles (those of a text file, if one is given), and forget them."""

    principles: Path | None = None

    async def play(self, scene: Scene) -> None:
        """Think, then answer."""
        if self.principles is not None and not self.principles.is_file():
            raise UserError(f"there are no principles {self.principles}: give a text file")
        principles = PRINCIPLES if self.principles is None else self.principles.read_text("utf-8").strip()
        thoughts = await scene.ask(THINK.format(principles=principles, request=scene.task.prompt))
        scene.origin["thoughts"] = thoughts
        await scene.attempt(whisper(ANSWER.format(principles=principles, thoughts=thoughts)))
