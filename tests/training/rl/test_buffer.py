"""Batches of before are learnt from as if each stood alone."""

import numpy as np
import pytest
import torch

from agentgym_training.rl.batch import examples
from agentgym_training.rl.buffer import ReplayBuffer
from agentgym_training.rl.methods import METHODS
from agentgym_training.rl.turns import turns_of
from agentgym_training.rl.update import Learner

from .conftest import QUICK


@pytest.fixture
def batches(chains, trees, nano_chat):
    """Of unequal sizes, chains and trees."""
    made = [(episodes, turns_of(episodes)) for episodes in (chains, trees, chains[:2])]
    return [(examples(episodes, turns, nano_chat), turns) for episodes, turns in made]


@pytest.mark.parametrize("method", [n for n, m in METHODS.items() if m.credit and n != "reinforce++"])
def test_credit_is_that_of_each_batch_alone(batches, method):
    """But for REINFORCE++'s, whose scale is that of all that is learnt from."""
    buffer, give = ReplayBuffer(3), METHODS[method].credit
    for sequences, turns in batches:
        buffer.add(sequences, turns)
    _, joined = buffer.newest(3)
    alone = np.concatenate([give(turns) for _, turns in reversed(batches)])
    assert give(joined) == pytest.approx(alone, abs=1e-12)
    assert joined.returns == pytest.approx(np.concatenate([turns.returns for _, turns in reversed(batches)]))


def test_sequences_find_their_own_tokens_and_episodes(batches):
    buffer = ReplayBuffer(3)
    for sequences, turns in batches:
        buffer.add(sequences, turns)
        found, joined = buffer.newest(3)
        assert [(e.token.tolist(), e.episode) for e in found[: len(sequences)]] == [
            (e.token.tolist(), e.episode) for e in sequences
        ]
    parts = [(e, turns) for sequences, turns in reversed(batches) for e in sequences]
    for one, (part, turns) in zip(found, parts, strict=True):
        assert one.ids == part.ids
        assert np.array_equal(joined.sampled[one.token], turns.sampled[part.token])
    assert sorted(np.concatenate([e.token for e in found])) == list(range(len(joined.sampled)))
    assert {e.episode for e in found} == set(joined.episode.tolist())


def test_the_oldest_leave_and_the_rest_is_written(batches, tmp_path):
    buffer, other = ReplayBuffer(2), ReplayBuffer(2)
    for batch in batches[:2]:
        buffer.add(*batch)
    buffer.save(tmp_path)
    other.load(tmp_path)
    for one in (buffer, other):
        one.add(*batches[2])
        made, turns = one.newest(5)
        wanted = [*batches[2][0], *batches[1][0]]
        assert [e.ids for e in made] == [e.ids for e in wanted]
        assert turns.reward.tolist() == [*batches[2][1].reward, *batches[1][1].reward]
        assert len(one.newest(1)[1].tokens) == len(batches[2][1].tokens)


def test_each_batch_has_its_steps_of_the_optimizer(batches, nano_dir, monkeypatch):
    learner, made = Learner(nano_dir, nano_dir, QUICK.model_copy(update={"replay": 2, "steps": 2})), []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *args: made.append(1) or step(self, *args))
    for number, (sequences, turns) in enumerate(batches, 1):
        _, advantages, new = learner.learn(sequences, turns, number)
        assert len(advantages) == len(new) == len(turns.sampled)
        assert new.all()  # of every token the policy said what it thinks
        assert len(made) == (2 if number == 1 else 4)
        made.clear()
