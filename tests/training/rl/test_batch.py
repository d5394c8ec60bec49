"""From episodes to arrays and sequences: each sampled token is trained exactly once, and nothing else is."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import agentgym
from agentgym import UserError
from agentgym_training.packing import pack
from agentgym_training.rl.batch import examples, logps_and_entropy
from agentgym_training.rl.methods import METHODS
from agentgym_training.rl.objective import Objective, shares
from agentgym_training.rl.turns import turns_of
from agentgym_training.rl.update import token_losses
from agentgym_trajectories.tree import Episode

from .conftest import ENV


def exact(x, turns, episodes):
    """Whether the targets are the ids that were sampled, each at its place."""
    written = [i for e, n in zip(turns.episode, turns.node, strict=True) for i in episodes[e].nodes[n].token_ids]
    return [x.ids[at] for at in x.at] == [written[k] for k in x.token]


def flipped(x):
    """The same sequence with the last token of the first prompt for a target, in place of the first one that was sampled."""
    return dataclasses.replace(x, at=np.concatenate([[x.at[0] - 1], x.at[1:]]))


@pytest.mark.parametrize("kind", ["chains", "trees"])
def test_what_was_sampled_is_trained_once(kind, request, nano_chat):
    episodes = request.getfixturevalue(kind)
    turns = turns_of(episodes)
    made = examples(episodes, turns, nano_chat)
    assert all(0 <= p < t for t, p in enumerate(turns.parent) if p >= 0)
    assert all(exact(x, turns, episodes) for x in made)
    on_a_way = {(i, n.id) for i, e in enumerate(episodes) for t in e.trajectories() for n in t.actions}
    assert set(zip(turns.episode.tolist(), turns.node.tolist(), strict=True)) == on_a_way
    assert sorted(np.concatenate([x.token for x in made])) == list(range(turns.tokens.sum()))
    for e, n, p in zip(turns.episode, turns.node, turns.parent, strict=True):
        if p >= 0:  # an action, the observation that it led to, the next action
            assert episodes[e].nodes[episodes[e].nodes[n].parent].parent == turns.node[p]
            assert turns.episode[p] == e
    trajectories = [t for e in episodes for t in e.trajectories()]
    assert turns.returns == pytest.approx([t.reward for t in trajectories])


def test_a_wrong_mask_is_caught(chains, nano_chat):
    """One observation token among the targets: the ids are others than were sampled, and its position has a gradient."""
    turns = turns_of(chains)
    made = examples(chains, turns, nano_chat)
    right, wrong = touched(made, turns), touched([flipped(made[0]), *made[1:]], turns)
    allowed = {(i, at - 1) for i, x in enumerate(made) for at in x.at.tolist()}
    assert right == allowed  # gradients are exactly 0 wherever no action token is predicted
    assert wrong - allowed == {(0, made[0].at[0] - 2)}
    assert not exact(flipped(made[0]), turns, chains)


def touched(made, turns):
    """Where the loss has a gradient with respect to the logits, as (sequence, position)."""
    found = set()
    for number, x in enumerate(made):
        logits = torch.randn(1, len(x.ids), 2000, generator=torch.Generator().manual_seed(0)).requires_grad_()

        class Model:
            config = SimpleNamespace(_attn_implementation="sdpa", get_text_config=lambda: SimpleNamespace(vocab_size=2000))

            def __call__(self, logits_to_keep, **_):
                return SimpleNamespace(logits=logits[:, logits_to_keep])  # noqa: B023

        micro = pack([x], 0, trees=False)
        logps, entropy = logps_and_entropy(Model(), micro, with_entropy=True)
        streams = {k: torch.ones(len(logps)) for k in ("advantages", "sampled", "reference")}
        objective = Objective(kl=0.1, entropy=0.1)
        losses, _ = token_losses(logps, entropy, streams, micro.sequence, objective)
        (shares("tokens", micro.sequence, 1) * losses).sum().backward()
        found |= {(number, int(at)) for at in logits.grad[0].abs().sum(-1).nonzero()[:, 0]}
    return found


def test_states_are_those_in_which_one_acts(chains):
    turns = turns_of(chains)
    first = turns.parent < 0
    assert len(set(turns.state[first].tolist())) == 2  # all attempts at a task begin in the same state
    assert not set(turns.state[first].tolist()) & set(turns.state[~first].tolist())
    assert turns.depth.tolist() == [0, 1] * 6
    advantages = METHODS["gigpo"].credit(turns)
    assert np.isfinite(advantages).all()
    assert advantages.shape == (12,)


def test_tokens_follow_each_other_through_turns(trees):
    turns = turns_of(trees)
    for t in range(len(turns.parent)):
        first = turns.offsets[t]
        above = turns.parent[t]
        wanted = turns.offsets[above] + turns.tokens[above] - 1 if above >= 0 else -1
        assert turns.token_parents[first] == wanted
        inner = turns.token_parents[first + 1 : first + turns.tokens[t]]
        assert inner.tolist() == list(range(first, first + turns.tokens[t] - 1))
    assert turns.token_rewards.sum() == pytest.approx(turns.reward.sum())


def test_a_rewritten_history_goes_on_where_it_was(nano_chat):
    """Two branches of tokens, one trajectory: the second one's first action follows the first one's."""
    episode = Episode(ENV, agentgym.Task("x", id="train-0"), 0, "v", vocabulary=nano_chat.vocabulary)
    said = (agentgym.assistant("a"),)
    episode.add(-1, "observation", (agentgym.user("x"),), token_ids=[9, 9], state_key="s")
    episode.add(0, "action", said, token_ids=[5, 6], logprobs=[-1.0, -2.0], reward=0.5, state_key="t")
    episode.add(-1, "observation", (agentgym.user("x"), *said), token_ids=[9, 8, 7], continues=1)
    episode.add(2, "action", said, token_ids=[4], logprobs=[-3.0], reward=1.0, success=True)
    turns = turns_of([episode])
    assert turns.parent.tolist() == [-1, 0]
    assert turns.returns.tolist() == [1.5]
    assert turns.state[0] != turns.state[1]
    made = examples([episode], turns, nano_chat)
    assert [(x.ids, x.at.tolist(), x.token.tolist()) for x in made] == [([9, 9, 5, 6], [2, 3], [0, 1]), ([9, 8, 7, 4], [3], [2])]


def test_who_is_no_model_cannot_be_trained(chains, nano_chat, demonstrations):
    with pytest.raises(UserError, match="no logged logprobs: sample from a model"):
        turns_of([demonstrations[0].episode])
    other = [Episode(**{**{f: getattr(e, f) for f in e.__struct_fields__}, "vocabulary": "other"}) for e in chains]
    with pytest.raises(UserError, match="another vocabulary"):
        examples(other, turns_of(chains), nano_chat)
