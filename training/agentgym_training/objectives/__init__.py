"""Objectives by name: one small file each. A new one is a file with a frozen dataclass, and a line here."""

from collections.abc import Sequence

from agentgym import UserError
from agentgym_trajectories.select import parse as parse_spec

from .agentrefine import AgentRefine
from .agenttuning import AgentTuning
from .base import Batch, Objective, Scored
from .c_rlft import CRlft
from .easy_to_hard import EasyToHard
from .faft import Faft
from .gmt import Gmt
from .hft import Hft
from .ift import Ift
from .leti import Leti
from .masked_thought import MaskedThought
from .mftcoder import Mftcoder
from .neftune import Neftune
from .poft import Poft
from .promot import Promot
from .prompt_intern import PromptIntern
from .response_tuning import ResponseTuning
from .rise import Rise
from .single_pass import SinglePass
from .step_by_step import StepByStep
from .tl_training import TlTraining

OBJECTIVES: dict[str, type[Objective]] = {
    "agenttuning": AgentTuning,
    "agentrefine": AgentRefine,
    "tl-training": TlTraining,
    "leti": Leti,
    "faft": Faft,
    "c-rlft": CRlft,
    "rise": Rise,
    "response-tuning": ResponseTuning,
    "masked-thought": MaskedThought,
    "neftune": Neftune,
    "poft": Poft,
    "ift": Ift,
    "step-by-step": StepByStep,
    "mftcoder": Mftcoder,
    "promptintern": PromptIntern,
    "easy-to-hard": EasyToHard,
    "promot": Promot,
    "hft": Hft,
    "gmt": Gmt,
    "single-pass": SinglePass,
}


def parse(specs: Sequence[str]) -> list[Objective]:
    """Objectives, in their order, from specs such as ``tl-training:maximum=5`` and ``neftune``.

    Raises:
        UserError: there is no such objective or option, several of them have a loss of their own, or two do not go together.
    """
    chosen = [parse_spec(spec, OBJECTIVES, "objective") for spec in specs]
    if any(o.together for o in chosen) and (bound := [o for o in chosen if isinstance(o, Ift | Promot)]):
        name = type(bound[0]).__name__.lower()
        raise UserError(f"single-pass reads trees, and {name} knows rows from left to right alone: leave one of them away")
    if len(losses := [spec for spec, objective in zip(specs, chosen, strict=True) if objective.has("loss")]) > 1:
        raise UserError(f"a training has one loss: leave all but one of {', '.join(losses)} away")
    return chosen


__all__ = ["OBJECTIVES", "Batch", "Objective", "Scored", "parse"]
