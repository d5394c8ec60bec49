"""Critics look at the right tokens, learn what the formulas say, and tell good actions from bad ones."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from agentgym_training.rl import credit
from agentgym_training.rl.batch import examples
from agentgym_training.rl.critic import Heads, Place, TwinCritic, ValueCritic, open_critic
from agentgym_training.rl.methods import Archer, Ppo
from agentgym_training.rl.turns import turns_of

from .conftest import QUICK


@pytest.fixture(scope="module")
def batch(chains, nano_chat):
    turns = turns_of(chains)
    return examples(chains, turns, nano_chat), turns


def make(kind, how, nano_dir):
    return kind(how, nano_dir, QUICK, Accelerator())


class Places:
    """A network whose only number is where in its sequence it was asked."""

    def __call__(self, micro, at):
        return micro.position_ids.flatten()[at][:, None].float()


def test_values_are_read_before_the_action_and_q_at_its_end(batch, nano_dir):
    made, turns = batch
    critic = make(ValueCritic, Ppo(), nano_dir)
    count = len(turns.sampled)
    first, last = np.zeros(count), np.zeros(count)
    first[turns.offsets], last[turns.offsets + turns.tokens - 1] = 1, 1
    one = slice(0, 1)
    (value,), (action,) = critic.read(Places(), made, [Place(first, one, before=True), Place(last, one, before=False)])
    for x in made:
        for t in (t for t in range(len(turns.parent)) if turns.episode[t] == x.episode):
            start, end = turns.offsets[t], turns.offsets[t] + turns.tokens[t] - 1
            assert value[start] == x.at[list(x.token).index(start)] - 1
            assert action[end] == x.at[list(x.token).index(end)]
    assert not value[first == 0].any()


@pytest.mark.parametrize("tokens", [False, True])
def test_a_critic_that_knows_nothing_gives_returns(batch, nano_dir, tokens):
    """All values are 0 at first; with lambda 1 the advantage is what came after, standardised."""
    made, turns = batch
    critic = make(ValueCritic, Ppo(tokens=tokens, gamma=0.9, lam=1.0), nano_dir)
    found, measured = critic.judge(made, turns, 1)
    if tokens:
        ahead = credit.return_to_go(turns.token_rewards, turns.token_parents, 0.9)
    else:
        ahead = turns.per_token(credit.return_to_go(turns.reward, turns.parent, 0.9))
    assert found == pytest.approx((ahead - ahead.mean()) / ahead.std(), abs=1e-6)
    assert measured["critic_explained"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("tokens", [False, True])
def test_values_become_the_returns(batch, nano_dir, tokens):
    made, turns = batch
    critic = make(ValueCritic, Ppo(tokens=tokens, lam=1.0, rate=1, epochs=10, size=4), nano_dir)
    for number in range(8):
        _, measured = critic.judge(made, turns, number)
    assert measured["critic_explained"] > (0.8 if tokens else 0.5)  # nothing tells first turns of one task apart


def test_archers_critic_learns_values_and_advantages(batch, nano_dir):
    """Of a fixed batch: Q of a last turn is its reward, V of a first turn the mean return, and advantages order the actions."""
    made, turns = batch
    critic = make(TwinCritic, Archer(gamma=1.0, rate=2, steps=50, size=6), nano_dir)
    for number in range(3):
        advantages, measured = critic.judge(made, turns, number)
    ahead = credit.return_to_go(turns.reward, turns.parent, 1.0)
    q, _ = critic.values(critic.net, made, turns)
    final = turns.depth == 1
    assert np.abs(q[:, final] - turns.reward[final]).max() < 0.05
    assert np.corrcoef(advantages[turns.offsets][~final], ahead[~final])[0, 1] > 0.5
    assert measured["critic_loss"] < 0.01


def test_archers_critic_goes_on_from_what_it_wrote(batch, nano_dir, tmp_path):
    made, turns = batch
    critic, other = (make(TwinCritic, Archer(steps=2), nano_dir) for _ in range(2))
    critic.judge(made, turns, 1)
    critic.save(tmp_path)
    other.load(tmp_path)
    one, two = critic.judge(made, turns, 2), other.judge(made, turns, 2)
    assert np.array_equal(one[0], two[0])


def test_archers_critic_learns_from_all_that_is_remembered(batch, chains, nano_chat, nano_dir):
    """Of a batch that it is not asked about it learns the values too."""
    made, turns = batch
    critic = make(TwinCritic, Archer(rate=2, steps=50, size=6), nano_dir)
    now = turns_of(chains[:1])
    for number in range(3):
        critic.judge(examples(chains[:1], now, nano_chat), now, number, [batch])
    q, _ = critic.values(critic.net, made, turns)
    final = turns.depth == 1
    assert np.abs(q[:, final] - turns.reward[final]).max() < 0.05


def test_what_all_attempts_at_a_task_share_is_no_advantage(batch, nano_dir):
    """A critic that knows nothing: what is left is the outcome, less the mean of the same task's turns that are as deep."""
    made, turns = batch
    critic = make(TwinCritic, Archer(steps=1, lam=1.0), nano_dir)
    critic.optimizer.param_groups[0]["lr"] = 0.0
    advantages, _ = critic.judge(made, turns, 1)
    ahead = credit.return_to_go(turns.reward, turns.parent, 1.0)
    wanted = np.array([a - np.mean(ahead[turns.level == level]) for a, level in zip(ahead, turns.level, strict=True)])
    assert np.bincount(turns.level).min() > 1
    tokens = turns.per_token(wanted)
    assert advantages == pytest.approx((tokens - tokens.mean()) / tokens.std(), abs=1e-6)


def test_who_has_nobody_to_compare_with_keeps_the_critics_word(chains, nano_chat, nano_dir):
    turns = turns_of(chains[:1])
    critic = make(TwinCritic, Archer(steps=1, lam=1.0, gamma=0.5), nano_dir)
    critic.optimizer.param_groups[0]["lr"] = 0.0
    advantages, _ = critic.judge(examples(chains[:1], turns, nano_chat), turns, 1)
    tokens = turns.per_token(credit.return_to_go(turns.reward, turns.parent, 0.5))
    assert tokens.std() > 0
    assert advantages == pytest.approx((tokens - tokens.mean()) / tokens.std(), abs=1e-6)


def test_the_slow_copy_follows(batch, nano_dir):
    made, turns = batch
    critic = make(TwinCritic, Archer(tau=0.25, steps=1), nano_dir)
    before = {k: v.clone() for k, v in critic.slow.state_dict().items()}
    critic.judge(made, turns, 1)
    for name, weight in critic.net.state_dict().items():
        wanted = 0.75 * before[name] + 0.25 * weight
        assert torch.allclose(critic.slow.state_dict()[name], wanted, atol=1e-6)


def test_methods_without_a_critic_have_none(nano_dir):
    assert open_critic(nano_dir, QUICK, Accelerator()) is None
    critic = open_critic(nano_dir, QUICK.model_copy(update={"method": "archer"}), Accelerator())
    assert isinstance(critic, TwinCritic)
    assert isinstance(critic.net, Heads)


def test_a_critic_learns_at_a_multiple_of_the_policys_rate(nano_dir):
    """A policy of another size has another learning rate, and so has its critic."""
    for kind, how in ((ValueCritic, Ppo(rate=3)), (TwinCritic, Archer(rate=3))):
        assert make(kind, how, nano_dir).optimizer.param_groups[0]["lr"] == pytest.approx(3 * QUICK.lr)
