"""Evolution: it climbs, follows from its seeds alone, and goes on after a break as if nothing had happened."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from agentgym import Failure, UserError
from agentgym.cli.output import Output
from agentgym_training.base import Lora
from agentgym_training.rl.es import ES, Evolution

from .conftest import ENV

QUICK = ES(updates=2, pairs=2, tasks=3, sigma=0.02, lr=0.02, max_tokens=5)


def evolve(out, nano_dir, *, resume=False, **changes):
    evolution = Evolution(ENV, {}, nano_dir, out, QUICK.model_copy(update=changes), Output(True))
    return evolution, evolution.run(resume)


def test_it_climbs(nano_dir, tmp_path, monkeypatch):
    """Towards a point in the space of one layer's 128 weights, knowing nothing but how near each member is."""
    config = QUICK.model_copy(update={"pairs": 12, "sigma": 0.05, "lr": 0.1})
    evolution = Evolution(ENV, {}, nano_dir, tmp_path, config, Output(True))
    evolution._open(nano_dir, nano_dir)
    found = evolution.sampler.model.model.norm.weight
    evolution.weights = [(weight, kept) for weight, kept in evolution.weights if weight is found]

    def member(seed, size, tasks):
        evolution._set(seed, size)
        return -float((found.detach() - 2).square().mean())

    monkeypatch.setattr(evolution, "_member", member)
    rewards = [evolution._generation(number)[0] for number in range(1, 121)]
    assert rewards[0] < -0.9
    assert np.mean(rewards[-5:]) > -0.4


def test_what_it_earns_is_what_the_members_earned(nano_dir, tmp_path):
    _, done = evolve(tmp_path, nano_dir)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert done == {"updates": 2, "sampled_tokens": lines[-1]["sampled_tokens"], "reward": lines[-1]["reward"]}
    assert 0 < lines[0]["sampled_tokens"] < lines[1]["sampled_tokens"]
    assert [d.name for d in tmp_path.glob("generation-*")] == ["generation-2"]


def test_a_step_is_the_formula(nano_dir, tmp_path, monkeypatch):
    """With rewards given by hand the weights move by lr / n times the sum of Z times the noise of each member."""
    evolution, given = Evolution(ENV, {}, nano_dir, tmp_path, QUICK, Output(True)), iter([1.0, 0.0, 0.5, 0.7])
    evolution._open(nano_dir, nano_dir)
    start = [kept.clone() for _, kept in evolution.weights]
    seen = []

    def member(seed, size, tasks):
        evolution._set(seed, size)
        seen.append([(w.detach() - s) / QUICK.sigma for (w, _), s in zip(evolution.weights, start, strict=True)])
        return next(given)

    monkeypatch.setattr(evolution, "_member", member)
    mean, _ = evolution._generation(1)
    z = (np.array([1.0, 0.0, 0.5, 0.7]) - 0.55) / np.std([1.0, 0.0, 0.5, 0.7])
    assert mean == pytest.approx(0.55)
    for i, (weight, _) in enumerate(evolution.weights):
        wanted = start[i] + QUICK.lr / 4 * sum(float(z[n]) * seen[n][i] for n in range(4))
        assert torch.allclose(weight, wanted, atol=1e-5)
        assert torch.allclose(seen[0][i], -seen[1][i], atol=1e-4)
        assert abs(float(seen[0][i].std()) - 1) < 0.2 or seen[0][i].numel() < 200


def test_generations_of_a_run_that_was_killed_do_not_stay(nano_dir, tmp_path, monkeypatch):
    """It was killed when a generation was whole, and the one before not yet removed."""
    monkeypatch.setattr("agentgym_training.rl.es.shutil.rmtree", lambda *_, **__: None)
    evolve(tmp_path, nano_dir, pairs=1, tasks=1)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("generation-*"))) == 2
    (tmp_path / "generation-2/state.json").unlink()
    evolve(tmp_path, nano_dir, pairs=1, tasks=1, resume=True)
    assert [d.name for d in tmp_path.glob("generation-*")] == ["generation-2"]


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4)])
def test_an_evolution_that_breaks_goes_on(nano_dir, tmp_path, monkeypatch, lora):
    _, whole = evolve(tmp_path / "whole", nano_dir, lora=lora)
    real, calls = Evolution._generation, []

    def breaking(self, number):
        calls.append(1)
        if len(calls) == 2:
            raise Failure("a broken machine")
        return real(self, number)

    monkeypatch.setattr(Evolution, "_generation", breaking)
    with pytest.raises(Failure, match="broken machine"):
        evolve(tmp_path / "broken", nano_dir, lora=lora)
    _, again = evolve(tmp_path / "broken", nano_dir, lora=lora, resume=True)
    assert again == whole
    name = "adapter_model" if lora else "model"
    one, other = (load_file(tmp_path / d / f"{name}.safetensors") for d in ("whole", "broken"))
    assert all(one[k].equal(other[k]) for k in one)
    evolve(tmp_path / "broken", nano_dir, lora=lora, resume=True, updates=QUICK.updates + 1)
    _, longer = evolve(tmp_path / "longer", nano_dir, lora=lora, updates=QUICK.updates + 1)
    assert json.loads((tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()[-1])["reward"] == longer["reward"]
    with pytest.raises(UserError, match=f"has had {QUICK.updates + 1} updates: ask for more"):
        evolve(tmp_path / "broken", nano_dir, lora=lora, resume=True)
    with pytest.raises(UserError, match="had other sigma"):
        evolve(tmp_path / "broken", nano_dir, lora=lora, resume=True, sigma=0.5)
