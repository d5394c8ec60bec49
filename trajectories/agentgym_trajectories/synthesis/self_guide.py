"""SELF-GUIDE (Zhao et al. 2024, arXiv:2407.12874): a model writes its own training set for one kind of task from a few examples.

New inputs are written in the manner of some examples; each is answered with the examples before it, which the record does not
show. What is unlike the examples in length, by more than two standard deviations of theirs, in words, is dropped, input and
output alike; so is what repeats an example.

Departure: the paper's filters by hand-written noise words and its search over the filters' limits are left out.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from agentgym import Message, Task, Tasks, UserError, assistant, user
from agentgym_trajectories.synthesis.base import Writer
from agentgym_trajectories.synthesis.scene import Scene, did

SEEDS = 1000  # that are read, at most
ASK = "These are inputs of one kind:\n\n{shown}\n\nWrite another input of this kind, unlike these in content, and nothing else."


@dataclass(frozen=True)
class SelfGuide(Writer):
    """Write inputs like the environment's tasks, and answers like those under `answer` in their data, from `shots` examples."""

    shots: int = 4
    answer: str = "reference"
    seeded = True
    roles = ("user",)

    def tasks(self, given: Tasks, count: int, seed: int) -> Tasks:
        """Each with examples drawn for it."""
        known = [t for t in given[:SEEDS] if self.answer in t.data]
        if len(known) < 2:
            raise UserError(f"self-guide needs at least two tasks with {self.answer!r} in their data: it found {len(known)}")
        examples = [[t.prompt, str(t.data[self.answer])] for t in known]
        usual = [_usual([len(e[side].split()) for e in examples]) for side in (0, 1)]

        def task(i: int) -> Task:
            drawn = random.Random(f"{seed}/{i}").sample(examples, min(self.shots, len(examples)))
            return Task("", {"examples": drawn, "usual": usual}, f"selfguide-{i}")

        return Tasks(task, range(count))

    async def write(self, scene: Scene) -> str:
        """A new input."""
        shown = "\n\n".join(f"Input: {asked}" for asked, _ in scene.task.data["examples"])
        return (await scene.ask(ASK.format(shown=shown), "user")).removeprefix("Input:")

    async def play(self, scene: Scene) -> None:
        """Write, answer after the examples, and measure."""
        data = scene.task.data
        scene.become(await self.write(scene))

        def shown(opening: tuple[Message, ...]) -> Sequence[Message]:
            before = [m for asked, said in data["examples"] for m in (user(asked), assistant(said))]
            at = int(opening[0].role == "system")
            return [*opening[:at], *before, *opening[at:]]

        done = await scene.attempt(shown)
        for what, text, (least, most) in zip(("input", "output"), (scene.task.prompt, did(done)), data["usual"], strict=True):
            if not least <= len(text.split()) <= most:
                scene.drop(done, f"an {what} of {len(text.split())} words is not between {least:.1f} and {most:.1f}")
        if scene.task.prompt in [asked for asked, _ in data["examples"]]:
            scene.drop(done, "the input repeats an example")


def _usual(lengths: Sequence[int]) -> tuple[float, float]:
    """The mean less and plus two standard deviations."""
    mean, spread = statistics.fmean(lengths), 2 * statistics.pstdev(lengths)
    return mean - spread, mean + spread
