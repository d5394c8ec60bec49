"""Distilling step by step (Hsieh et al. 2023, arXiv:2305.02301, equation 4) and MORepair (Yang et al. 2024, arXiv:2404.12636).

Two tasks from one example: to act, and to give the rationale. ``L = L_act + lambda x L_rationale``, each a mean over its own
tokens, divided by ``1 + lambda``. What is asked for is said by a prefix in the paper; here acting is asked for by saying nothing,
so that any environment plays the policy, and costs no tokens for thoughts.

The rationale is the thought of a message. Trajectories without thoughts give the first task alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from agentgym_trajectories.rewrite import conditioned, with_nodes
from agentgym_trajectories.rows import Example, Row, Turn
from agentgym_trajectories.tree import Trajectory

from .balance import balanced
from .base import Objective
from .parts import parts

ACT, RATIONALE = "act", "rationale"


@dataclass(frozen=True)
class StepByStep(Objective):
    """Learn to act without thoughts, and to say the thoughts when asked.

    Attributes:
        weight: Lambda, of the rationales.
        ask: The line that asks for them.
    """

    weight: float = 1.0
    ask: str = "Think aloud first."

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Each without its thoughts, and those with thoughts once more for these."""
        for example in examples:
            yield replace(example, trajectory=_without_thoughts(example.trajectory), kind=ACT)
            thoughtful = {n.id for n in example.trajectory.actions if n.messages[0].thinking}
            if thoughtful:
                silent = {n.id: 0.0 for n in example.trajectory.actions if n.id not in thoughtful}
                yield conditioned(replace(example, nodes={**example.nodes, **silent}, kind=RATIONALE), self.ask)

    def weigh(self, turn: Turn) -> Sequence[float]:
        """Of a rationale only the thought."""
        if turn.example.kind != RATIONALE:
            return [1.0] * len(turn.ids)
        return [float(part == "thought") for part in parts(turn)]

    def rows(self, rows: list[Row]) -> list[Row]:
        """Both tasks by their shares."""
        return balanced(rows, {ACT: 1.0, RATIONALE: self.weight})


def _without_thoughts(trajectory: Trajectory) -> Trajectory:
    """The same actions as if they had been written without thinking; such turns were not sampled and are rendered."""
    changed = {
        n.id: msgspec.structs.replace(
            n, messages=(msgspec.structs.replace(n.messages[0], thinking=""),), token_ids=None, logprobs=None
        )
        for n in trajectory.actions
        if n.messages[0].thinking
    }
    return with_nodes(trajectory, changed) if changed else trajectory
