"""Response tuning (An & Kim 2024, arXiv:2410.02465): the loss of instruction tuning, without the instruction.

``L = -log pi(response)``: what the agent is told in system and user messages is emptied, so that only the distribution of
responses is learnt. What tools answer stays: an agent's later turns are responses to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from agentgym import Message
from agentgym_trajectories.rewrite import retold
from agentgym_trajectories.rows import Example

from .base import Objective


@dataclass(frozen=True)
class ResponseTuning(Objective):
    """Learn how to respond, without what was asked."""

    def examples(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Each, with empty instructions."""
        for example in examples:
            yield replace(example, trajectory=retold(example.trajectory, lambda n: list(map(_emptied, n.messages))))


def _emptied(message: Message) -> Message:
    return msgspec.structs.replace(message, content="") if message.role in ("system", "user") else message
