"""The loop: it learns, it publishes exactly what it learnt, and a run that was killed ends as one that was not."""

import copy
import json
import os
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from agentgym import Failure, StopReason, UserError
from agentgym.cli.output import Output
from agentgym.sampling.transformers import score
from agentgym_training.base import Lora
from agentgym_training.nano import make_model
from agentgym_training.rl.collect import Collector
from agentgym_training.rl.config import RL, Stage
from agentgym_training.rl.loop import Loop, held_out
from agentgym_training.rl.methods import METHODS, Archer, Method
from agentgym_training.rl.reference import soup
from agentgym_training.rl.update import Learner
from agentgym_trajectories.store import Store

from .conftest import ENV, QUICK, opening


def curve(out):
    timeless = ("seconds_collect", "seconds_update", "alarms")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in timeless} for line in lines]


def test_a_policy_learns_what_is_rewarded(train, tmp_path):
    loop = train(tmp_path, updates=14, tasks=4, samples=8, lr=1.5e-2)
    rewards = [line["reward"] for line in loop.lines]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.25
    assert loop.result["updates"] == 14
    assert loop.result["sampled_tokens"] == sum(
        len(n.token_ids) for e in Store(tmp_path / "rollouts").episodes() for n in e.nodes if n.kind == "action"
    )
    measured = held_out(ENV, {}, tmp_path, 4, 6, loop.output)  # the directory is a model directory
    assert measured.reward > 0.5
    assert sorted(d.name for d in tmp_path.glob("update-*")) == ["update-12", "update-13", "update-14"]


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4)])
@pytest.mark.parametrize("staleness", [0, 2])
def test_the_sampler_has_the_trainers_weights(train, tmp_path, monkeypatch, lora, staleness):
    publish, seen = Collector.publish, []

    def checked(self, directory, version, probe):
        publish(self, directory, version, probe)
        served = score(self.sampler.model, probe.ids)
        seen.append(float(np.abs(np.array(served) - probe.logprobs).max()))
        assert self.sampler.version == version
        assert (directory / "adapter_config.json").exists() == (lora is not None)  # adapters stay adapters
        assert len({p.dtype for p in self.sampler.model.parameters()}) == 1

    monkeypatch.setattr(Collector, "publish", checked)
    loop = train(tmp_path, lora=lora, staleness=staleness, lr=1e-2)
    assert len(seen) == 4
    assert max(seen) < 1e-5
    ages = [line["staleness"] for line in loop.lines]
    assert max(ages) <= staleness
    for line in loop.lines:  # what the sampler wrote down is what the trainer computes, as long as their weights are the same
        assert (line["drift"] < 1e-5) == (line["staleness"] == 0), line
    for episode in Store(tmp_path / "rollouts").episodes():
        assert all(n.version.startswith("weights-") for n in episode.nodes if n.kind == "action")


@pytest.mark.parametrize(
    ("where", "what"), [(Learner, "update"), (Learner, "save"), (Collector, "publish"), (Collector, "_groups")]
)
@pytest.mark.parametrize("changes", [{}, {"lora": Lora(rank=2, alpha=4), "save_every": 2, "kl": 0.01, "steps": 2}])
def test_a_run_that_breaks_anywhere_goes_on_as_if_nothing_had_happened(train, tmp_path, monkeypatch, where, what, changes):
    whole = train(tmp_path / "whole", **changes)
    real, calls = getattr(where, what), []

    def breaking(*args, **kwargs):
        calls.append(1)
        if len(calls) == (2 if what == "save" and changes else 3):
            raise Failure("a broken machine")
        return real(*args, **kwargs)

    monkeypatch.setattr(where, what, breaking)
    with pytest.raises(Failure, match="broken machine"):
        train(tmp_path / "broken", **changes)
    again = train(tmp_path / "broken", resume=True, **changes)
    assert curve(tmp_path / "broken") == curve(tmp_path / "whole")
    assert again.result == whole.result
    name = "adapter_model" if changes else "model"
    one, other = (load_file(tmp_path / d / f"{name}.safetensors") for d in ("broken", "whole"))
    assert all(one[k].equal(other[k]) for k in other)
    with pytest.raises(UserError, match="had other"):
        train(tmp_path / "broken", resume=True, seed=5)


@pytest.mark.parametrize("changes", [{"method": "ppo"}, {"method": "archer"}, {"method": "grpo", "replay": 2}])
def test_critics_and_remembered_batches_go_on_too(train, tmp_path, monkeypatch, changes):
    monkeypatch.setitem(METHODS, "archer", replace(METHODS["archer"], critic=Archer(steps=4)))
    train(tmp_path / "whole", **changes, steps=2)
    save, calls = Learner.save, []

    def breaking(*args):
        calls.append(1)
        if len(calls) == 3:
            raise Failure("a broken machine")
        save(*args)

    monkeypatch.setattr(Learner, "save", breaking)
    with pytest.raises(Failure, match="broken machine"):
        train(tmp_path / "broken", **changes, steps=2)
    train(tmp_path / "broken", **changes, steps=2, resume=True)
    assert curve(tmp_path / "broken") == curve(tmp_path / "whole")


@pytest.mark.parametrize("method", ["grpo", "archer"])
def test_a_training_can_be_made_longer(train, tmp_path, monkeypatch, method):
    monkeypatch.setitem(METHODS, "archer", replace(METHODS["archer"], critic=Archer(steps=4)))
    whole = train(tmp_path / "whole", method=method, updates=3)
    train(tmp_path / "longer", method=method, updates=2)
    assert train(tmp_path / "longer", method=method, updates=3, resume=True).result == whole.result
    assert curve(tmp_path / "longer") == curve(tmp_path / "whole")
    with pytest.raises(UserError, match="has had 3 updates: ask for more"):
        train(tmp_path / "longer", method=method, updates=2, resume=True)


RUN = """
import os, signal, sys, time
from pathlib import Path
from agentgym.cli.output import Output
from agentgym_training.rl.loop import Loop
from tests.training.rl.conftest import ENV, QUICK, opening

model, out, name, updates, *kills = sys.argv[1:]
changes = {"updates": int(updates), "staleness": 2 if name == "fixed" else 0, "save_every": 2}

def seconds(pid):
    used = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")

for kill in [*map(float, kills), float("inf")]:
    pid = os.fork()
    if pid == 0:
        config = QUICK.model_copy(update=changes)
        Loop(ENV, {}, Path(model), Path(out), config, Output(True), opener=opening(name, Path(model))).run(resume=True)
        os._exit(0)
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if seconds(pid) > kill:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
sys.exit(os.waitstatus_to_exitcode(ended[1]))
"""


@pytest.mark.parametrize("name", ["transformers", "fixed"])
def test_a_run_that_is_killed_ends_as_one_that_was_not(train, nano_dir, tmp_path, name):
    """By SIGKILL, at moments that are drawn; played in step with the updates, and ahead of them.

    Ahead of them it depends on the machine which weights write a turn. There the sampler keeps its first ones, so that only what
    is in the loop's hands could make a difference.
    """
    train(tmp_path / "whole", opener=opening(name, nano_dir), updates=7, staleness=2 if name == "fixed" else 0, save_every=2)
    kills = [str(random.uniform(0.1, 3)) for _ in range(3)]  # seconds of the process, those before the first update among them
    command = [sys.executable, "-c", RUN, str(nano_dir), str(tmp_path / "killed"), name, "7", *kills]
    assert subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode == 0, kills
    for ended, undisturbed in zip(curve(tmp_path / "killed"), curve(tmp_path / "whole"), strict=True):
        # An episode that is not played again leaves others another company in the sampler's batch: the last bits may differ.
        assert ended == pytest.approx(undisturbed, rel=1e-3, abs=1e-5), kills
        assert (ended["reward"], ended["sampled_tokens"]) == (undisturbed["reward"], undisturbed["sampled_tokens"])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_an_update(train, tmp_path, monkeypatch, method):
    monkeypatch.setitem(METHODS, "archer", Method(None, critic=Archer(steps=4)))
    loop = train(tmp_path, method=method, updates=2, tasks=2, samples=3)
    line = loop.lines[-1]
    assert line["entropy"] > 0
    assert 0 < line["grad_norm"] < 1e3
    assert line["ratio_max"] == pytest.approx(1.0)
    before, after = load_file(loop.model_dir / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert any(not before[k].equal(after[k]) for k in before)


def test_groups_without_difference_are_replaced_by_others(train, tmp_path, monkeypatch):
    loop = train(tmp_path / "few", updates=1, refill=2, samples=1)  # groups of one never differ
    assert loop.lines[0]["episodes"] == 3 * QUICK.tasks
    assert loop.lines[0]["learnt_from"] == 0
    assert "entropy" not in loop.lines[0]
    loop = train(tmp_path / "many", updates=1, refill=2, samples=4)
    assert loop.lines[0]["episodes"] <= 3 * QUICK.tasks * 4
    assert loop.lines[0]["learnt_from"] % 4 == 0


def test_what_goes_through_at_once_changes_nothing(train, tmp_path):
    for pack in (1, 100, 10_000):
        train(tmp_path / str(pack), updates=2, pack=pack, kl=0.1, entropy=0.01)
    one, *others = (curve(tmp_path / str(pack)) for pack in (1, 100, 10_000))
    for other in others:
        for a, b in zip(one, other, strict=True):
            assert a == pytest.approx(b, rel=1e-3, abs=1e-5)


def test_a_divergence_begins_with_nothing_and_grows(train, tmp_path):
    for name, changes in (("full", {}), ("lora", {"lora": Lora(rank=2, alpha=4)})):
        lines = train(tmp_path / name, kl=0.01, lr=1e-2, **changes).lines
        assert lines[0]["kl"] == pytest.approx(0, abs=1e-6)
        assert lines[-1]["kl"] > 1e-5


def test_adapters_on_an_adapter(train, nano_dir, tmp_path):
    """The first adapter becomes part of a base of its own, in float32."""
    first = train(tmp_path / "first", updates=1, lora=Lora(rank=2, alpha=4), lr=1e-1)
    loop = Loop(ENV, {}, tmp_path / "first", tmp_path / "second", QUICK.model_copy(update={"lora": Lora(rank=3)}), first.output)
    loop.run()
    assert loop.lines[0]["drift"] < 1e-4  # the sampler began with the unmerged adapter
    settings = json.loads((tmp_path / "second/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(tmp_path / "second/base")


def test_the_mean_of_two_references(nano_dir, nano_chat, tmp_path):
    """SALSA's soup, weight by weight; what does not fit together is refused."""
    words = nano_chat.tokenizer
    for seed in (1, 2):
        make_model(words, seed=seed).save_pretrained(tmp_path / str(seed))
        words.save_pretrained(tmp_path / str(seed))
    made = soup([tmp_path / "1", tmp_path / "2"], nano_chat.vocabulary).state_dict()
    one, other = (make_model(words, seed=seed).state_dict() for seed in (1, 2))
    for name, weight in made.items():
        assert weight.numpy() == pytest.approx(((one[name] + other[name]) / 2).numpy(), abs=1e-7)
    alone = soup([tmp_path / "1"], nano_chat.vocabulary).state_dict()
    assert all(alone[k].equal(one[k]) for k in one)
    make_model(words, width=64).save_pretrained(tmp_path / "small")
    words.save_pretrained(tmp_path / "small")
    with pytest.raises(UserError, match="other weights than"):
        soup([nano_dir, tmp_path / "small"], nano_chat.vocabulary)
    with pytest.raises(UserError, match="another vocabulary"):
        soup([nano_dir], "other")


def test_a_curriculum_goes_from_short_to_long(train, tmp_path):
    stages = (Stage(2, turns=1), Stage(3))
    loop = train(tmp_path, updates=3, stages=stages, method="gigpo")
    assert [line["turns"] for line in loop.lines] == [2, 1, 2]
    with Store(tmp_path / "rollouts") as store:
        short = [e for e in store.episodes() if e.version == "update-2"]
    assert short
    for episode in short:
        assert [n.kind for n in episode.nodes] == ["observation", "action"]
        assert (episode.nodes[1].end, episode.nodes[1].success) == (StopReason.MAX_TURNS, False)
    with pytest.raises(UserError, match="grows trees"):
        RL(method="tree", stages=stages)


def test_no_stage_plays_the_tasks_of_another(tmp_path):
    """With and without a difficulty, and however often groups are replaced."""
    stages = (Stage(difficulty="easy"), Stage(3), Stage(5, difficulty="hard"))
    config = QUICK.model_copy(update={"updates": 6, "stages": stages, "refill": 1, "tasks": 3})
    with Collector("games/KeyDoor-v0", {}, config, Silent(), tmp_path, lambda trajectory: []) as collector:
        played = [task.id for number in range(1, 7) for attempt in range(2) for task in collector.tasks(number, attempt)]
    assert len(played) == len(set(played)) == 6 * 2 * 3


class Silent:
    """A sampler that is never asked."""

    async def close(self):
        pass


def test_a_checkpoint_of_another_vocabulary_is_refused(train, nano_chat, tmp_path):
    train(tmp_path, updates=1)
    words = copy.deepcopy(nano_chat.tokenizer)
    words.add_tokens(["<other>"])
    words.save_pretrained(tmp_path / "update-1")
    with pytest.raises(UserError, match=r"the tokenizer in .*update-1 has \d+ ids, its model knows \d+"):
        train(tmp_path, updates=1, resume=True)
    make_model(words).save_pretrained(tmp_path / "update-1")
    with pytest.raises(UserError, match=r"the checkpoint .*update-1 has another vocabulary than"):
        train(tmp_path, updates=1, resume=True)


def test_a_curriculum_goes_from_easy_to_hard(nano_dir, tmp_path):
    stages = (Stage(difficulty="easy"), Stage(2, difficulty="hard"))
    config = QUICK.model_copy(update={"updates": 2, "stages": stages, "max_tokens": 3})
    Loop("games/KeyDoor-v0", {}, nano_dir, tmp_path / "a", config, Output(True)).run()
    with Store(tmp_path / "a/rollouts") as store:
        assert {(e.version, e.task.difficulty) for e in store.episodes()} == {("update-1", "easy"), ("update-2", "hard")}
    config = QUICK.model_copy(update={"stages": (Stage(difficulty="impossible"),)})
    with pytest.raises(UserError, match="less than one in 50 tasks of games/KeyDoor-v0 is called 'impossible'"):
        Loop("games/KeyDoor-v0", {}, nano_dir, tmp_path / "b", config, Output(True)).run()
