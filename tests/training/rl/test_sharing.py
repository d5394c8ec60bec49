"""Sharing what sequences begin with changes no update: gradients, what is measured, critics."""

import numpy as np
import pytest
import torch

from agentgym_training.packing import takes_trees
from agentgym_training.rl.batch import examples
from agentgym_training.rl.config import RL
from agentgym_training.rl.methods import METHODS, Archer, Method
from agentgym_training.rl.turns import turns_of
from agentgym_training.rl.update import Learner


@pytest.mark.parametrize(("method", "kind"), [("grpo", "chains"), ("gspo", "trees"), ("ppo", "trees"), ("archer", "trees")])
def test_an_update_is_the_same_with_and_without_sharing(method, kind, request, nano_dir, nano_chat, monkeypatch):
    """The gradients before the step to 1e-4, and all that is measured; several pieces, so that beginnings are also cut."""
    monkeypatch.setitem(METHODS, "archer", Method(None, critic=Archer(steps=2)))
    episodes, rng = request.getfixturevalue(kind), np.random.default_rng(0)
    turns = turns_of(episodes)
    config = RL(method=method, lr=1e-3, kl=0.05, entropy=0.01, pack=700)
    found = []
    for trees in (True, False):
        if not trees:
            for module in ("update", "critic", "reference"):
                monkeypatch.setattr(f"agentgym_training.rl.{module}.share", lambda model: model, raising=False)
        learner = Learner(nano_dir, nano_dir, config)
        assert takes_trees(learner.model) == trees
        taken = []
        monkeypatch.setattr(
            learner.accelerator, "clip_grad_norm_", lambda weights, norm, to=taken: to.extend(p.grad.clone() for p in weights)
        )
        sequences_ = examples(episodes, turns, nano_chat)
        advantages, judged = learner.credit(sequences_, turns, 1)
        advantages = np.round(advantages, 4) + np.repeat(rng.normal(size=len(turns.tokens)), turns.tokens)
        rng = np.random.default_rng(0)
        measured, new = learner.update(sequences_, advantages, turns.sampled, 1)
        found.append((torch.cat([g.flatten() for g in taken]), measured | judged, new))
    (one, said, new), (other, wanted, alone) = found
    assert (one - other).norm() < 1e-4 * other.norm()
    assert said == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    assert new == pytest.approx(alone, abs=1e-4)


def test_what_has_no_advantage_is_measured_all_the_same(chains, nano_dir, nano_chat):
    """Entropy and drift are means over all tokens of the agent, whoever has an advantage; gradients come from those alone."""
    turns, found = turns_of(chains), []
    learner = Learner(nano_dir, nano_dir, RL(method="grpo", lr=1e-9))
    made = examples(chains, turns, nano_chat)
    for number, chosen in enumerate((slice(None), slice(0, 1))):
        advantages = np.zeros(len(turns.sampled))
        advantages[np.concatenate([x.token for x in made[chosen]])] = 1.0
        measured, new = learner.update(made, advantages, turns.sampled, number)
        found.append(measured)
        assert new == pytest.approx(turns.sampled, abs=1e-4)
    assert found[0]["entropy"] == pytest.approx(found[1]["entropy"], rel=1e-5)
    assert found[0]["grad_norm"] != pytest.approx(found[1]["grad_norm"], rel=1e-2)
    assert learner.update(made, np.zeros(len(turns.sampled)), turns.sampled, 2)[0]["grad_norm"] == 0
