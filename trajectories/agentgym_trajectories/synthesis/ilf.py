"""Imitation learning from language feedback (ILF; Scheurer et al. 2023, arXiv:2303.16755): criticise, refine, keep.

An answer is criticised, several refinements are sampled that see both, and the best one is learnt as the answer to the request
alone. The best is that which does what the criticism says (the paper's InstructRM asks a model just that), and among these the
one with the highest reward where the environment judges. No refinement that is worth less than the first answer is kept; the
first answer stays in the record, so that `agentgym pairs --by outcome` can prefer one to the other.

Departure: the critic is a model by default; the paper's criticism is written by people, who are the role `critic` of --role.
"""

from dataclasses import dataclass

from agentgym import UserError
from agentgym_trajectories.synthesis.base import Method
from agentgym_trajectories.synthesis.scene import YES, Scene, did, whisper

CRITIQUE = """Request:
{request}

Answer:
{answer}

What is wrong with this answer, or missing? Say how to make it better, in a few sentences."""
REFINE = """An earlier answer of yours to this request:
{answer}

What was said about it:
{critique}

Write the better answer, without mentioning either."""
USES = f"""Criticism:
{{critique}}

New answer:
{{answer}}

Does the new answer do all that the criticism asks for? {YES}"""


@dataclass(frozen=True)
class Ilf(Method):
    """Criticise an answer, refine it `refinements` times, and keep the best refinement that does what the criticism says."""

    refinements: int = 2
    roles = ("critic",)

    def __post_init__(self) -> None:
        if self.refinements < 1:
            raise UserError("ilf needs at least one refinement")

    async def play(self, scene: Scene) -> None:
        """Answer, and refine."""
        await refine(scene, self.refinements)


async def refine(scene: Scene, count: int) -> None:
    """Answer the task, have it criticised, and let all but the best of `count` refinements be dropped."""
    first = await scene.attempt()
    critique = await scene.ask(CRITIQUE.format(request=scene.task.prompt, answer=did(first)), "critic")
    scene.origin["critique"] = critique
    told = whisper(REFINE.format(answer=did(first), critique=critique))
    made = [await scene.attempt(told) for _ in range(count)]
    uses = [await scene.agrees(USES.format(critique=critique, answer=did(t)), "critic") for t in made]
    best = max(range(count), key=lambda i: (uses[i], made[i].reward))
    scene.drop(first, "it was refined")
    for i, t in enumerate(made):
        if not uses[i]:
            scene.drop(t, "it does not do what the criticism asks for")
        elif t.reward < first.reward:
            scene.drop(t, f"a reward of {t.reward:g} is less than the first answer's {first.reward:g}")
        elif i != best:
            scene.drop(t, "another refinement was better, or first")
