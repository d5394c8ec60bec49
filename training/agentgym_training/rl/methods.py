"""The methods of reinforcement learning by name: each says how credit is given and what is minimised.

A method of one's own is a `Method`; what it is made of stands in `credit` and `objective`. Clipping, and with it what sets "dapo"
and "gspo" apart from "grpo", comes into play only where `RL.steps` or `RL.staleness` let the policy leave its batch behind.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from agentgym import UserError

from . import credit
from .credit import Floats
from .objective import Objective
from .turns import Turns

Credit = Callable[[Turns], Floats]


@dataclass(frozen=True)
class Ppo:
    """A critic for GAE.

    Attributes:
        tokens: Whether tokens, and not turns, have values.
        gamma: Discount of a turn, or a token.
        lam: GAE's lambda.
        rate: Its learning rate, in units of the policy's: what is learnt from nothing has further to go.
        epochs: How often it sees each sequence.
        size: Sequences in a step.
    """

    tokens: bool = False
    gamma: float = 1.0
    lam: float = 0.95
    rate: float = 10.0
    epochs: int = 2
    size: int = 16


@dataclass(frozen=True)
class Archer:
    """ArCHer's critic over utterances.

    Attributes:
        gamma: Discount of a turn.
        lam: How much of what the critic did not foresee counts; the paper's 0 counts nothing (see `credit.utterances`).
        tau: How much of the network its slow copy takes over in each step.
        rate: Its learning rate, in units of the policy's: what is learnt from nothing has further to go.
        steps: In each update.
        size: Episodes in a step.
        buffer: Batches that it learns from.
    """

    gamma: float = 1.0
    lam: float = 0.9
    tau: float = 0.1
    rate: float = 20.0
    steps: int = 30
    size: int = 16
    buffer: int = 16


@dataclass(frozen=True)
class Method:
    """A way to learn.

    Attributes:
        credit: Makes the advantage of each turn, (T,); None where a critic does.
        objective: What is minimised.
        search: Episodes are trees that this search grows; None for plain episodes.
        critic: Which critic gives credit.
        replay: In how many updates a batch is learnt from, its own and those after it.
    """

    credit: Credit | None
    objective: Objective = field(default_factory=Objective)
    search: str | None = None
    critic: Ppo | Archer | None = None
    replay: int = 1


def grpo(turns: Turns) -> Floats:
    """All turns of an episode have its advantage."""
    return turns.outcome(credit.grpo)


def dr_grpo(turns: Turns) -> Floats:
    """As GRPO, without the division by the deviation."""
    return turns.outcome(credit.dr_grpo)


def rloo(turns: Turns) -> Floats:
    """Leave-one-out."""
    return turns.outcome(credit.rloo)


def reinforce(turns: Turns) -> Floats:
    """REINFORCE++ with the group's mean as baseline."""
    return turns.outcome(credit.reinforce_baseline)


@dataclass(frozen=True)
class ReturnToGo:
    """Each turn has what came after it, discounted, minus the mean over the group's turns that are as deep."""

    gamma: float = 0.95

    def __call__(self, turns: Turns) -> Floats:
        """(T,)."""
        ahead = credit.return_to_go(turns.reward, turns.parent, self.gamma)
        return credit.dr_grpo(ahead, turns.level)


@dataclass(frozen=True)
class GiGPO:
    """A = A_episode + omega A_step (arXiv:2505.10978, equation 9), both without division by deviations (its F_norm = 1).

    Attributes:
        gamma: Discount of a turn.
        omega: Weight of the step's part.
    """

    gamma: float = 0.95
    omega: float = 1.0

    def __call__(self, turns: Turns) -> Floats:
        """(T,)."""
        ahead = credit.return_to_go(turns.reward, turns.parent, self.gamma)
        return turns.outcome(credit.dr_grpo) + self.omega * credit.by_state(ahead, turns.state)


def tree(turns: Turns) -> Floats:
    """Each action of a search tree beside its siblings, by the values that the search found."""
    return credit.siblings(turns.value, turns.visits, turns.parent, turns.episode)


METHODS: dict[str, Method] = {
    "grpo": Method(grpo),  # the mean over tokens, as TRL and verl have it today
    "grpo-paper": Method(grpo, Objective(mean="episodes")),
    "dr-grpo": Method(dr_grpo, Objective(mean="constant")),
    "dapo": Method(grpo, Objective(clip_high=0.28)),
    "gspo": Method(
        grpo, Objective(ratio="sequence", mean="episodes", clip_low=3e-4, clip_high=4e-4)
    ),  # arXiv:2507.18071, section 5.1
    "rloo": Method(rloo),
    "reinforce++": Method(reinforce),
    "turn": Method(ReturnToGo()),
    "gigpo": Method(GiGPO()),
    "ppo": Method(None, critic=Ppo()),
    "ppo-token": Method(None, critic=Ppo(tokens=True, lam=0.99)),
    "archer": Method(None, Objective(kl=0.3), critic=Archer(), replay=3),
    "tree-grpo": Method(grpo, search="tree-grpo"),
    "tree": Method(tree, search="mcts"),
}


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        UserError: there is none.
    """
    if name not in METHODS:
        raise UserError(f"no method {name!r} of reinforcement learning: choose from {', '.join(METHODS)}")
    return METHODS[name]
