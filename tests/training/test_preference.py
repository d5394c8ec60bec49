import asyncio
import dataclasses
import itertools
import random
from types import SimpleNamespace

import datasets
import pytest
import torch
from pydantic import ValidationError
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

import agentgym
from agentgym import UserError
from agentgym.sampling.transformers import TransformersSampler, load, score
from agentgym_training.base import Lora, arguments
from agentgym_training.batches import Collator, items, padded
from agentgym_training.losses import LOSSES
from agentgym_training.packing import share
from agentgym_training.preference import Preference, Trainer, _by_sequence, train_preference
from agentgym_training.rows import PairRow, Row, from_divergence, pair_rows, rows
from agentgym_trajectories.pairs import Pair
from agentgym_trajectories.rollout import Memory, Rollout
from tests.training.folders import logged, same_weights, stopped, weights

QUICK = Preference(max_steps=8, batch_size=4, lr=1e-3, save_steps=4, beta=0.1)


@pytest.fixture(scope="module")
def pairs(nano_chat, demonstrations):
    """Demonstrations, each against the same conversation with some other ids, and more of them, in the agent's turns."""
    rng = random.Random(0)
    made = []
    for t in demonstrations[:24]:
        (row,) = rows(t, nano_chat)
        ids = [rng.randrange(10, 200) if w and rng.random() < 0.3 else i for i, w in zip(row.input_ids, row.weights, strict=True)]
        at, extra = row.weights.index(1.0), rng.randrange(4)
        rejected = Row(ids[:at] + [50] * extra + ids[at:], row.weights[:at] + [1.0] * extra + row.weights[at:])
        made.append(PairRow(row, rejected, smoothing=0.0))
    return made


@pytest.fixture(scope="module")
def scored(pairs, nano_dir):
    """The same pairs as if the model itself had sampled them: one plain forward pass for each row."""
    model, _ = load(nano_dir)

    def with_logprobs(row):
        found = [0.0, *score(model, row.input_ids)]
        return dataclasses.replace(row, logprobs=[p if w else 0.0 for p, w in zip(found, row.weights, strict=True)])

    return [PairRow(with_logprobs(p.chosen), with_logprobs(p.rejected)) for p in pairs]


@pytest.fixture(scope="module")
def trained(nano_dir, pairs, tmp_path_factory):
    """Directory and metrics of one short training."""
    out = tmp_path_factory.mktemp("dpo")
    return out, train_preference(nano_dir, pairs, out, QUICK)


def test_the_chosen_side_wins(trained):
    out, metrics = trained
    lines = logged(out)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[0]["loss"] == pytest.approx(0.6931472, rel=1e-5)  # the policy is its reference still
    assert lines[0]["accuracy"] == lines[0]["margin"] == lines[0]["kl"] == 0
    assert lines[-1]["accuracy"] == 1
    assert lines[-1]["margin"] > lines[1]["margin"] > 0
    assert lines[-1]["loss"] < lines[1]["loss"] < lines[0]["loss"]
    assert lines[-1]["kl"] > 0 > lines[-1]["chosen_logps"]
    assert {"steps", "loss", "chosen_logps", "rejected_logps", "margin", "accuracy", "kl", "tokens"} <= set(metrics)
    assert (out / "preference.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("changes", [{}, {"lora": Lora(rank=2, alpha=4)}, {"loss": "kto"}])
def test_a_resumed_training_ends_with_the_same_weights(changes, nano_dir, pairs, tmp_path):
    config = QUICK.model_copy(update=changes)
    whole = tmp_path / "whole"
    train_preference(nano_dir, pairs, whole, config)
    resumed = stopped(whole, tmp_path / "stopped", 4)
    assert train_preference(nano_dir, pairs, resumed, config, resume=True)["steps"] == 8
    assert same_weights(whole, resumed, "adapter_model" if config.lora else "model")
    measured = [[{k: v for k, v in line.items() if k != "tokens_per_second"} for line in logged(d)] for d in (whole, resumed)]
    assert measured[0] == measured[1]


def test_only_the_same_training_is_resumed(trained, nano_dir, pairs):
    out, _ = trained
    with pytest.raises(UserError, match="had other beta"):
        train_preference(nano_dir, pairs, out, QUICK.model_copy(update={"beta": 1.0}), resume=True)
    with pytest.raises(UserError, match="had other rows"):
        train_preference(nano_dir, pairs[1:], out, QUICK, resume=True)


def test_logged_logprobs_of_the_same_policy_are_its_reference(trained, nano_dir, scored, tmp_path):
    out, _ = trained
    train_preference(nano_dir, scored, tmp_path, QUICK.model_copy(update={"reference": "logged"}))
    for computed, written in zip(logged(out), logged(tmp_path), strict=True):
        for name in ("loss", "chosen_logps", "rejected_logps"):
            assert written[name] == pytest.approx(computed[name], rel=1e-5, abs=1e-5), (computed["step"], name)


def test_what_a_sampler_logged_is_the_reference(nano_dir, nano_chat, tmp_path):
    """The whole way: episodes of several turns, pairs of them, and the sampler's own logprobs for a reference."""

    class Echo(agentgym.Environment):
        max_turns = 3

        def tasks(self, split="train"):
            return agentgym.make("desk/Orders-v0").tasks(split)

        def reply(self, message):
            return f"You said {len(message.content)} characters."

    agentgym.register("test/Echo-v0", Echo)
    sink, sampler = Memory(), TransformersSampler(nano_dir, max_tokens=12)

    async def play():
        await Rollout("test/Echo-v0", samples=2).run(agentgym.make("desk/Orders-v0").tasks()[:8], sampler, sink)
        await sampler.close()

    asyncio.run(play())
    of_task = itertools.groupby(sorted(sink.episodes, key=lambda e: e.task.id), key=lambda e: e.task.id)
    sampled = [Pair(*(next(e.trajectories()) for e in episodes), first=0, margin=1.0) for _, episodes in of_task]
    made = pair_rows(sampled, nano_chat.tokenizer)
    assert len(made) == 8
    for reference in ("logged", "initial"):
        config = QUICK.model_copy(update={"reference": reference, "lr": 1e-4})
        train_preference(nano_dir, made, tmp_path / reference, config)
    for written, computed in zip(logged(tmp_path / "logged"), logged(tmp_path / "initial"), strict=True):
        assert written["loss"] == pytest.approx(computed["loss"], rel=1e-5)
    assert sum(line["accuracy"] for line in logged(tmp_path / "initial")) / 8 > 0.6  # a batch is four pairs


def test_logged_logprobs_and_smoothing_are_taken_as_they_are(nano_dir, scored, tmp_path):
    """Off-policy: what the sampler wrote down of the weighted ids counts, not what the model says."""

    def halved(row, other):
        return dataclasses.replace(row, logprobs=[p / 2 if w else other for p, w in zip(row.logprobs, row.weights, strict=True)])

    others = [PairRow(halved(p.chosen, -7.0), halved(p.rejected, -3.0), 0.02 * i) for i, p in enumerate(scored)]
    config = QUICK.model_copy(update={"max_steps": 1, "batch_size": len(others), "reference": "logged"})
    train_preference(nano_dir, others, tmp_path, config)
    margins = torch.tensor([(sum(p.chosen.logprobs) - sum(p.rejected.logprobs)) / 2 for p in scored])
    right = torch.sigmoid(0.1 * margins)
    wrong = torch.tensor([p.smoothing for p in others])
    wanted = -((1 - wrong) * right.log() + wrong * (1 - right).log()).mean()
    assert logged(tmp_path)[0]["loss"] == pytest.approx(wanted.item(), rel=1e-4)


def test_a_named_reference(trained, nano_dir, pairs, tmp_path):
    out, _ = trained
    config = QUICK.model_copy(update={"max_steps": 1, "reference": str(nano_dir)})
    train_preference(out, pairs, tmp_path, config)  # goes on from the trained policy, whose chosen sides are ahead already
    (line,) = logged(tmp_path)
    assert line["accuracy"] == 1
    assert line["margin"] > 0
    assert not (weights(tmp_path)["model.embed_tokens.weight"] - weights(nano_dir)["model.embed_tokens.weight"]).allclose(
        torch.zeros(())
    )


def test_adapters(nano_dir, pairs, tmp_path):
    config = QUICK.model_copy(update={"lora": Lora(rank=4, alpha=8), "lr": 1e-2})
    train_preference(nano_dir, pairs, tmp_path, config)
    lines = logged(tmp_path)
    assert lines[0]["loss"] == pytest.approx(0.6931472, rel=1e-5)
    assert lines[-1]["accuracy"] == 1
    assert (tmp_path / "adapter_config.json").exists()
    load(tmp_path)


@pytest.mark.parametrize("name", LOSSES)
def test_every_method_trains(name, nano_dir, pairs, tmp_path):
    smoothed = [dataclasses.replace(p, smoothing=0.1 * (i % 2)) for i, p in enumerate(pairs)]
    config = Preference(loss=name, max_steps=4, batch_size=8, lr=1e-3, from_divergence=True)
    train_preference(nano_dir, smoothed, tmp_path, config)
    lines = logged(tmp_path)
    assert lines[-1]["margin"] > lines[0]["margin"]
    assert ("kl" in lines[0]) == LOSSES[name].reference


def test_a_term_of_likelihood_keeps_the_chosen_side_likely(trained, nano_dir, pairs, tmp_path):
    train_preference(nano_dir, pairs, tmp_path, QUICK.model_copy(update={"sft_weight": 5.0}))
    assert logged(tmp_path)[-1]["chosen_logps"] > logged(trained[0])[-1]["chosen_logps"]


# ---- against TRL's own losses, on the same rows, in the same training ------------------------------------------------


def both(monkeypatch, theirs):
    """Train with our loss and note what TRL says of the same batch before each step, of which it gets all rows padded."""
    seen, batches, ours, collate = [], [], Trainer.compute_loss, Collator.__call__

    def collated(self, batch):
        sides = list(zip(*(self.items[b["row"]].rows for b in batch), strict=True))
        made = rectangle([*sides[0], *sides[1]])
        if sides[2:]:
            made |= {f"kl_{k}": v for k, v in rectangle([*sides[2], *sides[3]]).items()}
        batches.append(made)
        return collate(self, batch)

    def compute_loss(self, model, inputs, **options):
        loss = ours(self, model, inputs, **options)
        with torch.no_grad():
            seen.append((loss.item(), theirs(self, model, batches[len(seen)])))
        return loss

    monkeypatch.setattr(Trainer, "compute_loss", compute_loss)
    monkeypatch.setattr(Collator, "__call__", collated)
    return seen


def rectangle(sides):
    """Rows padded to one length, the reference's log-probabilities with them."""
    made = padded(sides, 0)
    length = made["input_ids"].shape[1]
    ref = [[*(r.logprobs or [0.0] * len(r.input_ids)), *[0.0] * (length - len(r.input_ids))] for r in sides]
    return made | {"ref_logps": torch.tensor(ref) * made["completion_mask"]}


@pytest.mark.parametrize("sft", [0.0, 0.5])
@pytest.mark.parametrize(("name", "theirs"), [("dpo", "sigmoid"), ("ipo", "ipo"), ("hinge", "hinge")])
def test_the_same_loss_as_trl(name, theirs, sft, nano_dir, pairs, tmp_path, monkeypatch):
    def trl(self, model, inputs):
        self.beta, self.loss_types, self.loss_weights = 0.1, [theirs, "sft"], [1.0, sft]
        chosen, rejected = (inputs["ref_logps"] * inputs["completion_mask"]).sum(1).chunk(2)
        batch = {k: inputs[k] for k in ("input_ids", "position_ids", "completion_mask")}
        batch |= {
            "attention_mask": torch.ones_like(inputs["input_ids"]),
            "ref_chosen_logps": chosen,
            "ref_rejected_logps": rejected,
        }
        kept = dict(self._metrics["train"])
        loss = DPOTrainer.compute_loss(self, model, batch).item()
        self._metrics["train"].clear()
        self._metrics["train"].update(kept)
        return loss

    seen = both(monkeypatch, trl)
    size = 1 if sft else 4  # TRL's SFT term is a mean over all tokens of a batch, ours over each pair's: one pair is the same
    config = QUICK.model_copy(update={"loss": name, "sft_weight": sft, "lr": 3e-4, "batch_size": size})
    train_preference(nano_dir, pairs, tmp_path, config)
    assert len(seen) == 8
    assert len({wanted for _, wanted in seen}) == 8
    for ours, wanted in seen:
        assert ours == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("trees", [True, False])
def test_the_same_reference_as_trl(nano_dir, pairs, trees):
    """Our precomputed log-probabilities are those that TRL's trainer computes with its own pass over the initial model."""
    model, tokenizer = load(nano_dir)
    collator = Collator(items(pairs, diverging=False, mismatched=False), 0, trees=trees)
    trainer = Trainer(
        QUICK,
        model=share(model) if trees else model,
        args=arguments(DPOConfig, nano_dir.parent / "unused", QUICK, 1, precompute_ref_log_probs=True),
        train_dataset=datasets.Dataset.from_dict({"row": [0]}),
        processing_class=tokenizer,
        data_collator=collator,
    )
    batch = rectangle([*(p.chosen for p in pairs[:8]), *(p.rejected for p in pairs[:8])])
    batch.pop("ref_logps")
    theirs = torch.cat(trainer.compute_ref_log_probs(trainer.model, batch))
    made = collator([{"row": i} for i in range(8)])
    assert torch.allclose(_by_sequence(made["ref_logps"], made["micro"], 16), theirs, rtol=1e-5)
    assert torch.allclose(trainer.logps(trainer.model, made["micro"]), made["ref_logps"], rtol=1e-5, atol=1e-6)


class Kto(KTOTrainer):
    """TRL's trainer, fed with finished batches."""

    def _prepare_dataset(self, dataset, *_):
        return dataset

    def _precompute_ref_logps(self, dataset, *_):
        return dataset


def test_the_same_kto_as_trl(nano_dir, pairs, tmp_path, monkeypatch):
    made = SimpleNamespace(trainer=None)

    def trl(self, model, inputs):
        if made.trainer is None:
            config = KTOConfig(
                str(tmp_path / "kto"), beta=0.1, precompute_ref_log_probs=True, use_cpu=True, bf16=False, gradient_checkpointing=None,
                report_to="none", train_sampling_strategy="sequential", per_device_train_batch_size=4, remove_unused_columns=False,
            )  # fmt: skip
            made.trainer = Kto(
                model=self.model, args=config, train_dataset=datasets.Dataset.from_dict({"label": [True]}),
                processing_class=self.processing_class, data_collator=list,
            )  # fmt: skip
            made.trainer.model.train()
        ids, mask = inputs["input_ids"], inputs["completion_mask"]
        batch = {
            "input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask,
            "KL_input_ids": inputs["kl_input_ids"], "KL_attention_mask": torch.ones_like(inputs["kl_input_ids"]),
            "KL_completion_mask": inputs["kl_completion_mask"], "label": torch.tensor([True] * 4 + [False] * 4),
            "ref_logps": inputs["ref_logps"].sum(1), "ref_KL_logps": inputs["kl_ref_logps"].sum(1),
        }  # fmt: skip
        return made.trainer.compute_loss(model, batch).item()

    seen = both(monkeypatch, trl)
    train_preference(nano_dir, pairs, tmp_path / "ours", QUICK.model_copy(update={"loss": "kto", "max_steps": 6, "lr": 3e-4}))
    assert len(seen) == 6
    for ours, wanted in seen:
        assert ours == pytest.approx(wanted, rel=1e-5)
    assert made.trainer._metrics["train"]["kl"][-1] != 0


def test_mismatched_rows_are_prompts_with_completions_of_other_pairs(pairs):
    made = items(pairs, diverging=False, mismatched=True)
    chosen, _, other, _ = made[3].rows
    partner = pairs[3 + len(pairs) // 2].chosen
    prompt, start = chosen.input_ids[: chosen.weights.index(1.0)], partner.weights.index(1.0)
    longest = max(len(r.input_ids) for p in pairs for r in (p.chosen, p.rejected))
    assert other.input_ids == (prompt + partner.input_ids[start:])[:longest]
    assert other.weights == ([0.0] * len(prompt) + partner.weights[start:])[:longest]


def test_weights_may_begin_where_the_sides_part(pairs):
    assert [i.rows for i in items(pairs, diverging=False, mismatched=False)] == [(p.chosen, p.rejected) for p in pairs]
    cut = [from_divergence(p) for p in pairs]
    assert [i.rows for i in items(pairs, diverging=True, mismatched=False)] == [(p.chosen, p.rejected) for p in cut]
    assert cut != pairs


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "changes", "message"),
    [
        ([], {}, "there are no pairs"),
        ([PairRow(Row([1, 2], [0.0, 0.5]), Row([1, 3], [0.0, 1.0]))], {}, "0 and 1"),
        ([PairRow(Row([1, 2], [0.0, 0.0]), Row([1, 3], [0.0, 1.0]))], {}, "on which nothing has a weight"),
        ([PairRow(Row([1, 2], [0.0, 1.0]), Row([1, 3], [0.0, 1.0]), smoothing=0.7)], {}, "between 0 and 0.5"),
        ([PairRow(Row([1, 2], [0.0, 1.0]), Row([1, 3], [0.0, 1.0]))], {"reference": "logged"}, "1 of 1 pairs have no logged"),
        ([PairRow(Row([1, 2], [0.0, 1.0]), Row([1, 3], [0.0, 1.0]))], {"reference": "/nowhere"}, "no model directory"),
        ([PairRow(Row([1, 2], [0.0, 1.0]), Row([1, 3], [0.0, 1.0]))], {"loss": "kto"}, "at least two pairs"),
    ],
)
def test_pairs_that_cannot_be_trained_on_are_refused(bad, changes, message, nano_dir, tmp_path):
    with pytest.raises(UserError, match=message):
        train_preference(nano_dir, bad, tmp_path / "out", QUICK.model_copy(update=changes))
    assert not (tmp_path / "out").exists()


def test_configurations_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="no preference loss 'ppo'"):
        Preference(loss="ppo")
    with pytest.raises(ValidationError):
        Preference(beta=0)
    with pytest.raises(ValidationError):
        Preference(learning_rate=1)
