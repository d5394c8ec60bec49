"""TL-Training (Ye et al. 2024, arXiv:2412.15495, sections 4.1 and 4.2): no loss on wrong calls, more on the tokens that decide.

Weights of a turn: 0 for an erroneous call (the paper's MAE); otherwise 1, and for key tokens ``min(others / keys, maximum)``
where keys and others count the turn's ids (PKT).

Departures: key tokens are those of the tool's name and of argument values; the paper raises, of the name, the first token and
those after a prefix that it shares with other tools. Its code divides by the sum of weights, here the normaliser is that of all
objectives. The third part, a reward by error category, is ``agentgym train rl --reward errors``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentgym_trajectories.rows import Example, Turn

from .agentrefine import without_mistakes
from .base import Objective
from .parts import parts


@dataclass(frozen=True)
class TlTraining(Objective):
    """Learn names and arguments of calls most, and nothing from wrong ones.

    Attributes:
        maximum: The largest weight of a token; 9 in the paper's code.
    """

    maximum: float = 9.0

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """The same with weight 0 on mistakes."""
        return map(without_mistakes, examples)

    def weigh(self, turn: Turn) -> Sequence[float]:
        """More on key tokens of actions."""
        if turn.node.kind != "action":
            return [1.0] * len(turn.ids)
        keys = [part in ("name", "argument") for part in parts(turn)]
        others = len(keys) - sum(keys)
        weight = min(others / sum(keys), self.maximum) if 0 < sum(keys) < others else 1.0
        return [weight if key else 1.0 for key in keys]
