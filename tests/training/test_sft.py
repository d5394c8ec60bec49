import asyncio
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from agentgym import UserError
from agentgym.sampling.base import SampleRequest
from agentgym.sampling.transformers import TransformersSampler
from agentgym_training.base import Lora, plan
from agentgym_training.rows import Row, rows
from agentgym_training.sft import Sft, train_sft
from tests.training.folders import logged, same_weights, stopped, weights

QUICK = Sft(max_steps=8, batch_size=4, lr=3e-3, save_steps=4)


@pytest.fixture(scope="module")
def training_rows(nano_chat, demonstrations):
    return [r for t in demonstrations for r in rows(t, nano_chat)]


@pytest.fixture(scope="module")
def trained(nano_dir, training_rows, tmp_path_factory):
    """Directory and metrics of one short training."""
    out = tmp_path_factory.mktemp("sft")
    return out, train_sft(nano_dir, training_rows, out, QUICK)


def test_the_loss_falls(trained):
    out, metrics = trained
    lines = logged(out)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[-1]["loss"] < lines[0]["loss"] - 1
    assert {"step", "loss", "lr", "tokens_per_second"} == set(lines[0])
    assert metrics["steps"] == 8
    assert metrics["tokens"] > 0


def test_a_resumed_training_ends_with_the_same_weights(trained, nano_dir, training_rows, tmp_path):
    out, _ = trained
    stopped(out, tmp_path, 4)
    metrics = train_sft(nano_dir, training_rows, tmp_path, QUICK, resume=True)
    assert metrics["steps"] == 8
    assert [line["step"] for line in logged(tmp_path)] == list(range(1, 9))
    assert same_weights(out, tmp_path)


def test_resuming_without_a_checkpoint_begins_at_the_start(nano_dir, training_rows, tmp_path):
    config = QUICK.model_copy(update={"max_steps": 1})
    assert train_sft(nano_dir, training_rows, tmp_path / "new", config, resume=True)["steps"] == 1


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4)])
def test_the_result_can_be_sampled_from(nano_dir, nano_chat, training_rows, tmp_path, lora):
    train_sft(nano_dir, training_rows, tmp_path, Sft(max_steps=2, batch_size=4, lora=lora))
    assert (tmp_path / "adapter_config.json").exists() == (lora is not None)

    async def turn():
        sampler = TransformersSampler(tmp_path, max_tokens=4, device="cpu")
        (sample,) = await sampler.sample([SampleRequest([], [], training_rows[0].input_ids[:40])])
        await sampler.close()
        return sample

    assert len(asyncio.run(turn()).token_ids) <= 4


def test_rows_that_cannot_be_trained_on_are_refused(nano_dir, training_rows, tmp_path):
    with pytest.raises(UserError, match="no rows"):
        train_sft(nano_dir, [], tmp_path, Sft())
    for weight in (-0.5, math.inf, math.nan):
        with pytest.raises(UserError, match="finite and at least 0"):
            train_sft(nano_dir, [Row([1, 2], [0.0, weight])], tmp_path, Sft())
    with pytest.raises(ValidationError):
        Sft(learning_rate=1)


def test_the_plan_shows_each_row_once_an_epoch_and_like_lengths_together():
    lengths = [(i * 37) % 101 for i in range(400)]
    order = plan(lengths, Sft(epochs=2, batch_size=8))
    assert sorted(order) == sorted([*range(400), *range(400)])
    batches = [order[i : i + 8] for i in range(0, len(order), 8)]
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches]
    assert sum(spread) / len(spread) < 10
    firsts = [lengths[b[0]] for b in batches]
    assert firsts != sorted(firsts)
    assert plan(lengths, Sft(epochs=2, batch_size=8)) == order != plan(lengths, Sft(epochs=2, batch_size=8, seed=1))


def test_a_checkpoint_that_was_being_written_is_passed_over(trained, nano_dir, training_rows, tmp_path):
    out, _ = trained
    stopped(out, tmp_path, 4, 8)
    (tmp_path / "checkpoint-8" / "trainer_state.json").unlink()
    assert train_sft(nano_dir, training_rows, tmp_path, QUICK, resume=True)["steps"] == 8
    assert same_weights(out, tmp_path)


def test_only_the_same_training_is_resumed(trained, nano_dir, training_rows):
    out, _ = trained
    with pytest.raises(UserError, match="had other lr"):
        train_sft(nano_dir, training_rows, out, QUICK.model_copy(update={"lr": 1.0}), resume=True)
    with pytest.raises(UserError, match="had other rows"):
        train_sft(nano_dir, training_rows[1:], out, QUICK, resume=True)


def test_an_adapter_can_be_trained_further(nano_dir, training_rows, tmp_path, monkeypatch):
    config = Sft(max_steps=2, batch_size=4, lr=1e-2, lora=Lora(rank=2, alpha=4))
    monkeypatch.chdir(nano_dir.parent)
    train_sft(Path(nano_dir.name), training_rows, tmp_path / "one", config)  # a relative path, as on the command line
    monkeypatch.chdir(tmp_path)
    train_sft(tmp_path / "one", training_rows, tmp_path / "two", Sft(max_steps=2, batch_size=4))
    assert weights(nano_dir).keys() == weights(tmp_path / "two").keys()
    assert not same_weights(nano_dir, tmp_path / "two")
