"""PromptIntern (Zou et al. 2024, arXiv:2407.02211, section 3): the documentation in the prompt is phased out while it is learnt.

In phase s of S the prompt has the share ``1 - s / (S - 1)`` of its documentation, the last phase none of it: what was told in
every prompt stands in the weights afterwards.

Departures: the documentation is the system message, shortened by lines from its end; the paper compresses it with another model
and drops examples too. The trajectories are dealt out among the phases, so that the training is no longer than a plain one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from agentgym import Message, UserError
from agentgym_trajectories.rewrite import retold
from agentgym_trajectories.rows import Example

from .base import Objective


@dataclass(frozen=True)
class PromptIntern(Objective):
    """Shorten the system message from phase to phase, to nothing.

    Attributes:
        phases: At least 2.
    """

    phases: int = 4

    def __post_init__(self) -> None:
        if self.phases < 2:
            raise UserError("promptintern needs at least 2 phases: with the documentation and without")

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Each in one phase, with the system message of that phase."""
        for number, example in enumerate(examples):
            phase = number % self.phases
            share = 1 - phase / (self.phases - 1)
            if share == 1:
                yield replace(example, stage=phase)
            else:
                shorter = retold(example.trajectory, lambda n, share=share: _shortened(n.messages, share))  # type: ignore[misc]
                yield replace(example, trajectory=shorter, stage=phase)


def _shortened(messages: Sequence[Message], share: float) -> list[Message]:
    """System messages with this share of their lines; without any line there is no message."""
    kept: list[Message] = []
    for message in messages:
        if message.role == "system":
            lines = message.content.splitlines()
            message = msgspec.structs.replace(message, content="\n".join(lines[: round(share * len(lines))]))
        if message.role != "system" or message.content:
            kept.append(message)
    return kept
