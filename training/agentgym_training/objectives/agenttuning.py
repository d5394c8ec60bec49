"""AgentTuning (Zeng et al. 2023, arXiv:2310.12823, equation 1): agent trajectories mixed with general instructions.

The paper minimises ``eta x E_agent[-log pi] + (1 - eta) x E_general[-log pi]`` by drawing each example from either source. Here
the share of examples is exact over the whole set, and `eta` is the share of the *general* ones, drawn without repetition until
all were used. The paper's other half, keeping trajectories by their reward, is ``agentgym select --by reward``.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agentgym import UserError
from agentgym_trajectories.rows import Example
from agentgym_trajectories.store import Store

from .base import Objective


@dataclass(frozen=True)
class AgentTuning(Objective):
    """Mix a share `eta` of examples of another run in.

    Attributes:
        general: The run of general instructions.
        eta: Its share of all examples.
        seed: Of who is drawn.
    """

    general: Path
    eta: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.eta < 1:
            raise UserError(f"agenttuning's eta is a share from 0 to under 1, not {self.eta:g}")

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Both sources, shuffled."""
        agent = list(examples)
        with Store(self.general) as store:
            general = [Example(t) for t in store.trajectories()]
        wanted, rng, drawn = round(len(agent) * self.eta / (1 - self.eta)), random.Random(self.seed), list[Example]()
        while general and len(drawn) < wanted:
            drawn += rng.sample(general, min(len(general), wanted - len(drawn)))
        together = [*agent, *drawn]
        rng.shuffle(together)
        return together
