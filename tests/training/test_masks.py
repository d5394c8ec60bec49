"""A wrong mask cannot go unnoticed: what SFT and preference training have gradients for, position by position, worked out by hand.

Reinforcement learning has the same test in `rl/test_batch.py`.
"""

from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import agentgym
from agentgym_training import sft
from agentgym_training.batches import Collator, items
from agentgym_training.losses import LOSSES
from agentgym_training.objectives import Objective
from agentgym_training.preference import Preference, Trainer
from agentgym_training.rows import pair_rows, training_rows
from agentgym_trajectories.pairs import Pair
from agentgym_trajectories.tree import Episode

#       prompt   action  result  action
IDS = [9, 9, 9, 5, 6, 5, 7, 7, 8, 4]
PREDICT = {2, 3, 4, 7, 8}  # positions whose logits may have a gradient: those before 5, 6, 5, 8 and 4
OTHER = [9, 9, 9, 5, 6, 5, 7, 7, 3, 3, 3]  # the same up to the result: shared, so that only 3, 3 and 3 are judged
FORK = {7, 8, 9}
WRONG = 6  # an id of the result


@pytest.fixture
def fork(nano_chat):
    """Two trajectories that part after the result."""
    episode = Episode("x", agentgym.Task("x", id="train-0"), 0, "v", vocabulary=nano_chat.vocabulary)
    said, heard = (agentgym.assistant("a"),), (agentgym.user("b"),)
    episode.add(-1, "observation", heard, token_ids=IDS[:3])
    episode.add(0, "action", said, token_ids=IDS[3:6], logprobs=[-1.0] * 3)
    episode.add(1, "observation", heard, token_ids=IDS[6:8])
    episode.add(2, "action", said, token_ids=IDS[8:], logprobs=[-1.0] * 2)
    episode.add(2, "action", said, token_ids=OTHER[8:], logprobs=[-1.0] * 3)
    return episode


class Model:
    """Gives random logits, and knows afterwards where they had a gradient."""

    config = SimpleNamespace(_attn_implementation="sdpa", get_text_config=lambda: SimpleNamespace(vocab_size=20))

    def __call__(self, input_ids, logits_to_keep, **_):
        generator = torch.Generator().manual_seed(0)
        self.logits = torch.randn(*input_ids.shape, 20, generator=generator).requires_grad_()
        return SimpleNamespace(logits=self.logits[:, logits_to_keep])

    @property
    def touched(self):
        return [set(row.abs().sum(-1).nonzero()[:, 0].tolist()) for row in self.logits.grad]


def flipped(row):
    return replace(row, weights=[1.0 if i == WRONG else w for i, w in enumerate(row.weights)])


def test_sft_learns_what_the_agent_wrote_and_nothing_else(fork, nano_chat):
    row, other = training_rows(fork.trajectories(), nano_chat.tokenizer)
    assert (row.input_ids, other.input_ids) == (IDS, OTHER)
    found = []
    for rows in ([row, other], [flipped(row), other]):
        model = Model()
        batch = sft.Collator(rows, 0)([{"row": 0}, {"row": 1}])
        trainer = sft._Trainer.__new__(sft._Trainer)
        trainer.objectives, trainer.usual, trainer.loss = (), True, Objective().loss
        trainer.state = SimpleNamespace(global_step=0, max_steps=1)
        trainer.compute_loss(model, batch).backward()
        found.append(model.touched)
    assert found == [[PREDICT, FORK], [PREDICT | {WRONG - 1}, FORK]]


@pytest.mark.parametrize("loss", LOSSES)
def test_preferences_are_about_what_the_agent_wrote_and_nothing_else(fork, nano_chat, loss):
    better, worse = fork.trajectories()
    (pair,) = pair_rows([Pair(better, worse, first=1, margin=1.0)], nano_chat.tokenizer)
    found = []
    for one in (pair, replace(pair, chosen=flipped(pair.chosen))):
        model, trainer = Model(), Trainer.__new__(Trainer)
        trainer.config = Preference(loss=loss, reference="logged")
        trainer.args = SimpleNamespace(device=torch.device("cpu"))
        trainer.accelerator = SimpleNamespace(autocast=nullcontext)
        trainer._metrics = {"train": defaultdict(list)}
        batch = Collator(items([one], diverging=False, mismatched=False), 0, trees=False)([{"row": 0}])
        trainer.compute_loss(model, batch).backward()
        found.append(model.touched)
    assert found == [[{7, 8}, FORK], [{7, 8, WRONG - 1}, FORK]]
    tree = Collator(items([pair], diverging=False, mismatched=False), 0, trees=True)([{"row": 0}])["micro"]
    assert tree.targets.tolist() == [8, 4, 3, 3, 3]
    assert tree.input_ids[0, tree.before].tolist() == [7, 8, 7, 3, 3]  # the token at which they part predicts two
