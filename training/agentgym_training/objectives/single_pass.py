"""Thinking over several turns, trained in a single pass (One-Pass to Reason, Goru et al. 2025, arXiv:2504.18246).

A template that drops earlier thoughts gives one sequence for each turn: history without thoughts, then this turn's thought and
answer. Read one by one, T turns cost T histories. Here all sequences of a trajectory stand in the same batch, and a batch goes
through the model as the tree of its sequences' beginnings: what they share is read once (see `packing`). Loss and gradients are
those of the several sequences.

Departure: the paper duplicates the ids of a trajectory and masks attention over the whole row; `packing` attends run by run. A
model that cannot take such rows reads the sequences one beside the other.
"""

from dataclasses import dataclass

from .base import Objective


@dataclass(frozen=True)
class SinglePass(Objective):
    """Read what the sequences of a trajectory share once."""

    together = True
