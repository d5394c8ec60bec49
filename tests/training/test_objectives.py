"""Each objective on a case whose answer is known; losses against float64 written another way."""

import json
import math

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from agentgym import ErrorCategory, Message, Task, UserError, assistant, call, system, user
from agentgym.sampling.transformers import load
from agentgym_training.base import Training, plan
from agentgym_training.objectives import OBJECTIVES, Batch, Objective, Scored, parse
from agentgym_training.objectives.balance import balanced
from agentgym_training.objectives.ift import discounted
from agentgym_training.objectives.parts import parts
from agentgym_training.rows import Row, training_rows
from agentgym_training.sft import Sft, _Trainer, train_sft
from agentgym_trajectories import Store
from agentgym_trajectories.rewrite import conditioned, retold
from agentgym_trajectories.rows import Example, Turn, rows
from agentgym_trajectories.tree import Episode, Trajectory
from tests.training.folders import logged, weights
from tests.training.test_rows import with_ids, written_by

WRONG = (ErrorCategory.TOOL_ERROR,)


def spoken(
    *turns: Message, reward: float = 1.0, task: str = "t", version: str = "v", wrong: int = -1, difficulty: str = ""
) -> Trajectory:
    """A conversation under a system message: asked, said, answered, said ...; all actions without ids."""
    episode = Episode("x/Y-v0", Task("Go.", {}, task, difficulty=difficulty), 0, version, nodes=[])
    parent = episode.add(-1, "observation", (system("One rule.\nAnother."), user("Go."))).id
    for number, said in enumerate(turns):
        last = number == len(turns) - 1
        parent = episode.add(
            parent,
            "action",
            (said,),
            reward=reward if last else 0.0,
            rewards={"solved": reward} if last else {},
            success=reward >= 1 if last else None,
            errors=WRONG if number == wrong else (),
        ).id
        if not last:
            parent = episode.add(parent, "observation", (Message("tool", f"Answer {number}.", (), "call00000", "f"),)).id
    return next(episode.trajectories())


def changed(spec: str, *trajectories: Trajectory) -> list[Example]:
    (objective,) = parse([spec])
    return list(objective.examples(map(Example, trajectories)))


CALL = assistant("", call("look_up", order_id="O12", deep=[{"n": 34}]))
DONE = assistant("It is 34.")


# ---- the frame -------------------------------------------------------------------------------------------------------


class Grabbed(Exception):
    pass


@pytest.fixture
def trainer(nano_dir, tmp_path, monkeypatch):
    """Makes a trainer that is about to begin; `progress` is how far it is."""

    def make(given, *specs, progress=0.0, **options):
        caught = []

        def grab(self, **_):
            caught.append(self)
            raise Grabbed

        with monkeypatch.context() as patch:
            patch.setattr(_Trainer, "train", grab)
            with pytest.raises(Grabbed):
                train_sft(
                    nano_dir, given, tmp_path / "out", Sft(objectives=specs, batch_size=len(given), max_steps=10, **options)
                )
        caught[0].state.max_steps, caught[0].state.global_step = 10, round(10 * progress)
        return caught[0]

    return make


def batch_of(made, count):
    return made.data_collator([{"row": i} for i in range(count)])


def reference_logps(nano_dir, row):
    """Log-probabilities of a row's ids after the first, in float64, row by row."""
    model = load(nano_dir, "cpu")[0].double()
    ids = torch.tensor([row.input_ids])
    logits = model(input_ids=ids).logits[0, :-1]
    return model, torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0]


@pytest.fixture(scope="module")
def weighted(nano_chat, demonstrations):
    """Three rows of different lengths with any weights on the agent's ids."""
    rng = np.random.default_rng(1)
    found = [rows(t, nano_chat)[0] for t in demonstrations[:3]]
    return [Row(r.input_ids, [float(w * rng.uniform(0.1, 3)) for w in r.weights], [-0.5 * w for w in r.weights]) for r in found]


def test_the_loss_and_its_gradient_are_the_weighted_ones(trainer, nano_dir, weighted):
    made = trainer(weighted)
    loss = made.compute_loss(made.model, batch_of(made, 3))
    loss.backward()
    total, count, gradient = 0.0, 0, 0
    for row in weighted:
        model, logps = reference_logps(nano_dir, row)
        w = torch.tensor(row.weights[1:], dtype=torch.float64)
        part = -(w * logps).sum()
        part.backward()
        gradient = gradient + model.model.layers[0].self_attn.q_proj.weight.grad
        total, count = total + part.item(), count + int((w != 0).sum())
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    ours = made.model.model.layers[0].self_attn.q_proj.weight.grad.double()
    assert (ours - gradient / count).norm() < 1e-4 * (gradient / count).norm()


def test_a_row_with_a_tenth_of_the_weight_pulls_a_tenth_also_alone(trainer, weighted):
    light = Row(weighted[0].input_ids, [w / 10 for w in weighted[0].weights])
    one, tenth = trainer(weighted[:1]), trainer([light])
    losses = [t.compute_loss(t.model, batch_of(t, 1)).item() for t in (one, tenth)]
    assert losses[1] == pytest.approx(losses[0] / 10, rel=1e-5)


def test_weights_of_0_and_1_give_the_mean_over_tokens(trainer, nano_chat, demonstrations):
    plain = [rows(t, nano_chat)[0] for t in demonstrations[:4]]
    made = trainer(plain)
    batch = batch_of(made, 4)
    labels = batch["labels"]
    logits = made.model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    assert made.compute_loss(made.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_stages_follow_each_other_in_the_plan():
    lengths, stages = [5] * 40, [1] * 10 + [0] * 30
    order = plan(lengths, Training(epochs=2, batch_size=4), stages)
    assert sorted(order) == sorted([*range(40), *range(40)])
    seen = [stages[i] for i in order]
    assert seen == [0] * 60 + [1] * 20
    assert len(plan(lengths, Training(max_steps=7, batch_size=4), stages)) == 28


def test_specs_are_parsed_and_refused():
    assert parse(["tl-training:maximum=5", "neftune"]) == [OBJECTIVES["tl-training"](5.0), OBJECTIVES["neftune"]()]
    for specs, message in (
        (["sft"], "no objective 'sft': use one of agenttuning"),
        (["neftune:beta=1"], "objective 'neftune' has no option 'beta'"),
        (["poft", "ift"], "one loss: leave all but one of poft, ift"),
        (["agenttuning"], "option 'general'"),
        (["agenttuning:general=x,eta=1"], "eta is a share"),
        (["promptintern:phases=1"], "at least 2 phases"),
        (["gmt:keep=0"], "over 0"),
    ):
        with pytest.raises(UserError, match=message):
            parse(specs)
    assert not any(o.has("loss", "inputs", "gradients", "prepare") for o in parse(["leti", "mftcoder", "easy-to-hard"]))


def test_what_is_told_changes_and_what_was_sampled_stays(nano_chat, demonstrations):
    sampled = with_ids(demonstrations[0], nano_chat, nano_chat.vocabulary)
    other = conditioned(Example(sampled), "Fail.").trajectory
    ((row,), (plain,)) = rows(other, nano_chat), rows(sampled, nano_chat)
    own = [[i for i, w in zip(r.input_ids, r.weights, strict=True) if w] for r in (row, plain)]
    assert own[0] == own[1]
    assert row.logprobs is None
    assert "Fail." in nano_chat.tokenizer.decode(row.input_ids[: row.turns[0][1]])
    assert conditioned(Example(sampled), "").trajectory is sampled
    first = retold(spoken(DONE), lambda n: [m for m in n.messages if m.role == "user"])
    assert [m.role for m in conditioned(Example(first), "Fail.").trajectory.messages] == ["system", "user", "assistant"]


@pytest.mark.parametrize("odd", [False, True])
def test_the_parts_of_a_turn(nano_chat, odd):
    said = assistant("Let me see O12.", *CALL.tool_calls, thinking="Hm, 34?")
    text = nano_chat.dialect.render(said)
    ids = [i for c in text for i in nano_chat.encode(c)] if odd else nano_chat.encode(text)  # one id a character, or few
    found = parts(Turn(spoken(said).leaf, [*ids, nano_chat.turn_end_id], Example(spoken(said)), nano_chat))
    read: dict[str, str] = {}
    for i, part in zip(ids, found, strict=False):
        read[part] = read.get(part, "") + nano_chat.tokenizer.decode([i])
    if odd:
        assert read["name"] == "look_up"
        assert read["argument"] == "O1234"
        assert read["thought"] == "Hm, 34?"
        assert read["text"] == "Let me see O12."
    else:
        assert "look_up" in read["name"]
        assert "12" in read["argument"]
    assert found[-1] == "other"


def test_the_parts_of_turns_that_are_no_calls(nano_chat):
    for text in ("Ünï ☃ 34.", "<tool_call>\nnonsense\n</tool_call>", '<tool_call>\n{"name": "", "arguments": {}}\n</tool_call>'):
        ids = nano_chat.encode(text)
        found = parts(Turn(spoken(DONE).leaf, ids, Example(spoken(DONE)), nano_chat))
        assert len(found) == len(ids)
        assert set(found) == ({"text"} if text.startswith("Ü") else {"other"})


# ---- objectives that write rows --------------------------------------------------------------------------------------


def test_agenttuning_mixes_shares_exactly(tmp_path):
    with Store(tmp_path, create=True) as store:
        for i in range(7):
            store.add(spoken(DONE, task=f"general-{i}").episode)
    agent = [spoken(DONE, task=f"agent-{i}") for i in range(90)]
    together = changed(f"agenttuning:general={tmp_path},eta=0.25", *agent)
    names = [e.trajectory.episode.task.id for e in together]
    assert (len(names), sum(n.startswith("general") for n in names)) == (120, 30)
    assert {n for n in names if n.startswith("general")} == {f"general-{i}" for i in range(7)}
    assert names != sorted(names)


def test_agentrefine_learns_from_the_turn_that_mends(nano_chat):
    t = spoken(CALL, CALL, DONE, wrong=0)
    (row,) = training_rows([t], nano_chat.tokenizer, objectives=parse(["agentrefine"]))
    assert [n for n, _, _ in row.turns] == [3, 5]
    assert written_by(row, nano_chat).startswith("<tool_call>")
    assert row.input_ids == rows(t, nano_chat)[0].input_ids  # the mistake stays in sight


def test_tl_training_weighs_key_tokens(nano_chat):
    t = spoken(CALL, CALL, DONE, wrong=0)
    (row,) = training_rows([t], nano_chat.tokenizer, objectives=parse(["tl-training:maximum=3"]))
    (_, start, end), (_, last, stop) = row.turns
    found = parts(Turn(t.actions[1], row.input_ids[start:end], Example(t), nano_chat))
    keys = [p in ("name", "argument") for p in found]
    others = len(keys) - sum(keys)
    assert sum(keys) > 0
    weight = min(others / sum(keys), 3) if sum(keys) < others else 1.0
    assert row.weights[start:end] == [weight if k else 1.0 for k in keys]
    assert row.weights[last:stop] == [1.0] * (stop - last)
    assert sum(map(bool, row.weights)) == end - start + stop - last


def test_leti_learns_to_foresee_feedback(nano_chat):
    good, bad = spoken(DONE), spoken(CALL, DONE, reward=0.0, wrong=0)
    first, second = changed("leti:feedback=0.5", good, bad)
    assert first.trajectory is good
    t = second.trajectory
    assert t.messages[0].content.endswith("\nThis attempt fails.")
    assert t.messages[-1] == user("This is wrong: solved 0.")
    (row,) = training_rows([bad], nano_chat.tokenizer, objectives=parse(["leti:feedback=0.5"]))
    by_kind = {n: row.weights[a] for n, a, _ in row.turns}
    assert by_kind == {1: 1.0, 2: 0.5, 3: 1.0, 4: 0.5}  # the answer to the mistake, and the verdict
    assert "Answer 0." in written_by(row, nano_chat)


def test_faft_and_c_rlft_say_which_is_which():
    good, bad = spoken(DONE, version="oracle@1"), spoken(DONE, reward=0.5, version="nano")
    first, second = changed("faft", good, bad)
    assert first.trajectory is good
    assert "Fail at this task." in second.trajectory.messages[0].content
    first, second = changed("c-rlft:alpha=0.2", good, bad)
    assert (first.weight, second.weight) == (1.0, 0.2)
    assert first.trajectory is good
    assert "another agent" in second.trajectory.messages[0].content


def test_rise_makes_a_dialogue_of_attempts(nano_chat):
    tries = [spoken(CALL, DONE, reward=r) for r in (0.5, 0.0, 1.0, 0.5)]
    alone, lost = spoken(DONE, task="other"), spoken(DONE, reward=0.0, task="third")
    dialogue, single = changed("rise:tau=0.5", *tries, alone, lost)
    roles = [m.role for m in dialogue.trajectory.messages]
    assert roles == ["system", "user", *["assistant", "tool", "assistant", "user"] * 2, "assistant", "tool", "assistant"]
    weights = [dialogue.nodes[n.id] for n in dialogue.trajectory.actions]
    assert weights == pytest.approx([0.0, 0.0, math.exp(-1), math.exp(-1), 1.0, 1.0])
    assert single.weight == 1.0
    (row, _) = training_rows([*tries, alone, lost], nano_chat.tokenizer, objectives=parse(["rise"]))
    assert {round(w, 6) for w in row.weights} == {0.0, round(math.exp(-1), 6), 1.0}


def test_response_tuning_hides_the_request_alone():
    (example,) = changed("response-tuning", spoken(CALL, DONE))
    assert [m.content for m in example.trajectory.messages] == ["", "", "", "Answer 0.", "It is 34."]


def test_step_by_step_teaches_acts_and_thoughts_apart(nano_chat):
    thoughtful = spoken(msgspec.structs.replace(CALL, thinking="First look."), DONE)
    silent = spoken(DONE, task="other")
    made = training_rows([thoughtful, silent], nano_chat.tokenizer, objectives=parse(["step-by-step:weight=0.5"]))
    assert [r.kind for r in made] == ["act", "rationale", "act"]
    assert "First look." not in nano_chat.tokenizer.decode(made[0].input_ids)
    assert written_by(made[1], nano_chat).strip() == "First look."
    assert "Think aloud first." in nano_chat.tokenizer.decode(made[1].input_ids)
    total = sum(r.trained for r in made)
    assert sum(made[1].weights) == pytest.approx(total / 3)
    assert sum(made[0].weights) + sum(made[2].weights) == pytest.approx(2 * total / 3)


def test_mftcoder_gives_tasks_the_same_weight():
    given = [Row([1, 2, 3], [0, 1, 1], kind="a")] * 5 + [Row([1, 2], [0, 2], kind="b")]
    made = parse(["mftcoder"])[0].rows(given)
    sums = {k: sum(sum(r.weights) for r in made if r.kind == k) for k in "ab"}
    assert sums == pytest.approx({"a": 5.5, "b": 5.5})  # 11 ids are trained
    assert balanced(given, {"b": 3.0})[-1].weights == pytest.approx([0, 11 * 3 / 4])


def test_promptintern_phases_the_documentation_out(nano_chat):
    made = changed("promptintern:phases=3", *[spoken(DONE, task=str(i)) for i in range(4)])
    assert [e.stage for e in made] == [0, 1, 2, 0]
    told = [[m.content for m in e.trajectory.messages if m.role == "system"] for e in made]
    assert told == [["One rule.\nAnother."], ["One rule."], [], ["One rule.\nAnother."]]
    given = training_rows([e.trajectory for e in made], nano_chat.tokenizer, objectives=parse(["promptintern:phases=2"]))
    assert [r.stage for r in given] == [0, 1, 0, 1]


def test_easy_comes_before_hard():
    named = [spoken(CALL, CALL, DONE, difficulty="hard"), spoken(DONE, difficulty="easy"), spoken(CALL, DONE, difficulty="hard")]
    assert [e.stage for e in changed("easy-to-hard", *named)] == [1, 0, 1]
    nameless = [spoken(*[CALL] * n, DONE) for n in (3, 0, 2, 1)]
    assert [e.stage for e in changed("easy-to-hard:levels=2", *nameless)] == [1, 0, 1, 0]
    assert changed("easy-to-hard") == []


def test_objectives_work_one_after_the_other(nano_chat):
    t = spoken(CALL, DONE, reward=0.0)
    (row,) = training_rows([t], nano_chat.tokenizer, objectives=parse(["c-rlft:alpha=0.1", "tl-training:maximum=2"]))
    (plain,) = training_rows([t], nano_chat.tokenizer, objectives=parse(["tl-training:maximum=2"]))
    own = [[w for w in r.weights if w] for r in (row, plain)]
    assert own[0] == pytest.approx([w / 10 for w in own[1]])
    assert len(set(own[1])) == 2


def test_the_same_path_may_be_learnt_twice(nano_chat):
    t = spoken(CALL, DONE)

    class Twice(Objective):
        def examples(self, examples):
            return [e for e in examples for _ in range(2)]

    assert len(training_rows([t], nano_chat.tokenizer, objectives=[Twice()])) == 2
    assert training_rows([t], nano_chat.tokenizer, max_length=3, objectives=[Twice()]) == []


# ---- objectives that change inputs, losses and gradients -------------------------------------------------------------


def batched(made, count):
    given = batch_of(made, count)
    return Batch(*(given[k] for k in ("input_ids", "weights", "ref_logps", "lengths")), 0.0), given


def test_neftune_adds_noise_of_the_right_size(trainer, weighted):
    made = trainer(weighted, "neftune:alpha=7")
    batch, given = batched(made, 3)
    clean = made.model.get_input_embeddings()(given["input_ids"])
    noisy = made.objectives[0].inputs(made.model, {k: given[k] for k in ("input_ids", "position_ids")}, batch)
    noise = (noisy["inputs_embeds"] - clean).detach()
    for row, length in zip(noise, batch.lengths.tolist(), strict=True):
        bound = 7 / math.sqrt(length * noise.shape[2])
        assert bound * 0.99 < row.abs().max() <= bound * 1.0001
        assert row.mean().abs() < bound / 20
    silent = trainer(weighted, "neftune:alpha=0")
    plain = trainer(weighted)
    losses = [t.compute_loss(t.model, batch_of(t, 3)).item() for t in (silent, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_masked_thought_hides_own_ids_alone_and_keeps_targets(trainer, weighted):
    made = trainer(weighted, "masked-thought:p=0.4,warmup=0.5")
    (objective,) = made.objectives
    batch, given = batched(made, 3)
    ids = given["input_ids"]
    torch.manual_seed(0)
    for progress, share in ((0.0, 0.0), (0.25, 0.2), (0.9, 0.4)):
        own = batch.weights > 0
        at = Batch(batch.input_ids, batch.weights, batch.ref_logps, batch.lengths, progress)
        hidden = torch.stack([objective.inputs(made.model, {"input_ids": ids}, at)["input_ids"] != ids for _ in range(60)])
        assert not hidden[:, ~own].any()
        assert hidden[:, own].float().mean().item() == pytest.approx(share, abs=0.02)
    with pytest.raises(UserError, match="before objectives that change embeddings"):
        objective.inputs(made.model, {"inputs_embeds": ids}, batch)


def scored(logps, ref, weights):
    mask = (np.array(weights) > 0).astype(float)
    values = [torch.tensor(np.array(x) * m, dtype=torch.float64) for x, m in ((logps, mask), (ref, mask), (weights, 1))]
    return Scored(*values, tokens=int(mask.sum()))


def test_poft_prefers_the_model_to_the_aligned_one():
    given = scored([[-1.0, -3.0], [-2.0, -9.0]], [[-0.5, -1.5], [-4.0, 0.0]], [[1.0, 1.0], [2.0, 0.0]])
    (objective,) = parse(["poft:beta=2,gamma=0.1"])
    differences = [(-2.0) - (-1.0), (-2.0) - (-4.0)]
    expected = np.mean([-math.log(1 / (1 + math.exp(-(2 * d + 0.1)))) for d in differences])
    assert objective.loss(given).item() == pytest.approx(expected)


def test_poft_scores_rows_once_or_takes_what_was_logged(trainer, nano_dir, weighted):
    (objective,) = parse([f"poft:reference={nano_dir}"])
    for row, before in zip(objective.rows(weighted), weighted, strict=True):
        expected = reference_logps(nano_dir, before)[1].detach().numpy()
        assert row.logprobs[1:] == pytest.approx(expected, abs=1e-4)
    made = trainer(objective.rows(weighted), "poft:beta=3")  # the model is its own reference: log 2
    assert made.compute_loss(made.model, batch_of(made, 3)).item() == pytest.approx(math.log(2), abs=1e-4)
    with pytest.raises(UserError, match="1 of 1 rows have no logged logprobs"):
        parse(["poft"])[0].rows([Row([1, 2], [0.0, 1.0])])
    assert parse(["poft"])[0].rows(weighted) == weighted


def test_ift_weighs_a_loss_by_what_comes_of_it():
    losses, on = np.array([[1.0, 5.0, 2.0, 3.0]]), np.array([[True, False, True, True]])
    found = discounted(torch.tensor(losses * on), torch.tensor(on), 0.5)[0].tolist()
    assert found == pytest.approx([1 + 0.5 * 2 + 0.25 * 3, 0, 2 + 0.5 * 3, 3])
    given = scored([[-1.0, 0.0, -2.0, -3.0]], [[0.0] * 4], [[1.0, 0.0, 1.0, 1.0]])
    v = np.array([2.75, 3.5, 3.0]) * 3 / 9.25
    expected = (v * [1, 2, 3]).sum() / 3
    assert parse(["ift:gamma=0.5"])[0].loss(given).item() == pytest.approx(expected)


def test_ift_mixes_predictions_into_the_input(trainer, weighted):
    made = trainer(weighted, "ift:mix=0.2")
    batch, given = batched(made, 3)
    model = made.model.eval()
    mixed = made.objectives[0].inputs(model, {k: given[k] for k in ("input_ids", "position_ids")}, batch)["inputs_embeds"]
    table = model.get_input_embeddings().weight
    row, ids = weighted[0], torch.tensor([weighted[0].input_ids])
    likeliest = model(input_ids=ids).logits[0].argmax(-1)
    for t in range(1, len(row.input_ids)):
        other = likeliest[t - 1] if row.weights[t] > 0 else row.input_ids[t]
        assert torch.allclose(mixed[0, t], 0.8 * table[row.input_ids[t]] + 0.2 * table[other], atol=1e-6)


def test_hft_trains_half_of_each_layer(nano_dir, weighted, tmp_path):
    halves = []
    for seed in (0, 1):
        config = Sft(objectives=("hft",), max_steps=1, batch_size=3, warmup=0.0, lr=1e-3, seed=seed)
        train_sft(nano_dir, weighted, tmp_path / str(seed), config)
        before, after = weights(nano_dir), weights(tmp_path / str(seed))
        halves.append({name for name in before if before[name].equal(after[name])})
    for kept in halves:
        for kind, total in (("self_attn.", 4), ("mlp.", 3)):
            for layer in (0, 1):
                names = [n for n in kept if f"layers.{layer}.{kind}" in n and "norm" not in n]
                assert len(names) in (total // 2, (total + 1) // 2)
        assert sum("mlp." in n for n in kept) == 3  # of six
        assert not any("embed" in n for n in kept)
    assert halves[0] != halves[1]
    with pytest.raises(UserError, match="no layers"):
        parse(["hft"])[0].prepare(torch.nn.Linear(2, 2), 0)


def test_gmt_keeps_the_largest_gradients(trainer, weighted):
    made = trainer(weighted, "gmt:keep=0.1")
    made.compute_loss(made.model, batch_of(made, 3)).backward()
    before = {n: p.grad.clone() for n, p in made.model.named_parameters()}
    made.objectives[0].gradients(made.model, 0.0)
    for name, parameter in made.model.named_parameters():
        kept = parameter.grad != 0
        assert kept.sum() == max(1, round(0.1 * kept.numel()))
        assert parameter.grad[kept].equal(before[name][kept])
        assert before[name][kept].abs().min() >= before[name][~kept].abs().max()


def test_gradients_are_masked_in_a_training(nano_dir, weighted, tmp_path):
    config = Sft(objectives=("gmt:keep=0.1",), max_steps=1, batch_size=3, warmup=0.0, lr=1e-3)
    train_sft(nano_dir, weighted, tmp_path, config)
    before, after = weights(nano_dir), weights(tmp_path)
    share = np.mean([(before[n] != after[n]).float().mean().item() for n in before if before[n].numel() > 1000])
    assert share == pytest.approx(0.1, abs=0.01)


def test_promot_tunes_a_prompt_then_the_model(nano_dir, weighted, tmp_path, trainer):
    config = Sft(objectives=("promot:length=4,share=1",), max_steps=2, batch_size=3, warmup=0.0, lr=1e-2)
    train_sft(nano_dir, weighted, tmp_path / "first", config)
    before = weights(nano_dir)
    after = weights(tmp_path / "first")
    assert after.keys() == before.keys()
    assert all(before[n].equal(after[n]) for n in before)
    prompt = load_file(tmp_path / "first" / "prompt.safetensors")["soft_prompt"]
    assert prompt.shape == (4, before["model.embed_tokens.weight"].shape[1])
    config = config.model_copy(update={"objectives": ("promot:length=4,share=0",)})
    train_sft(nano_dir, weighted, tmp_path / "second", config)
    assert not any(before[n].equal(t) for n, t in weights(tmp_path / "second").items() if "proj" in n)
    drawn = load_file(tmp_path / "second" / "prompt.safetensors")["soft_prompt"]
    assert all(any(row.equal(e) for e in before["model.embed_tokens.weight"]) for row in drawn)  # as it began
    made = trainer(weighted, "promot:length=4")
    loss = made.compute_loss(made.model, batch_of(made, 3)).item()
    table, total, count = made.model.get_input_embeddings().weight, 0.0, 0
    for row in weighted:
        given = torch.cat([made.model.soft_prompt, table[torch.tensor(row.input_ids)]])[None]
        logps = torch.log_softmax(made.model(inputs_embeds=given).logits[0, 4:-1], -1)
        own = logps.gather(1, torch.tensor(row.input_ids[1:])[:, None])[:, 0]
        total -= sum(w * p for w, p in zip(row.weights[1:], own.tolist(), strict=True))
        count += row.trained
    assert loss == pytest.approx(total / count, rel=1e-4)


def test_a_resumed_training_has_the_same_objectives(nano_dir, weighted, tmp_path):
    config = Sft(objectives=("neftune",), max_steps=2, batch_size=3, save_steps=1)
    train_sft(nano_dir, weighted, tmp_path, config)
    assert json.loads((tmp_path / "training.json").read_text())["objectives"] == ["neftune"]
    assert [line["step"] for line in logged(tmp_path)] == [1, 2]
    with pytest.raises(UserError, match="had other objectives"):
        train_sft(nano_dir, weighted, tmp_path, config.model_copy(update={"objectives": ()}), resume=True)


# ---- thinking over several turns in one pass -------------------------------------------------------------------------


@pytest.fixture
def thoughtful(nano_chat):
    """Four turns of thought under a template that shows the last thought alone: as many rows, and one more of a second talk."""
    usual = nano_chat.tokenizer.chat_template
    told = "{% if message.reasoning_content %}"
    nano_chat.tokenizer.chat_template = usual.replace(told, told.replace(" %}", " and loop.last %}"))
    turns = [msgspec.structs.replace(CALL, thinking=f"Hm, {i}.") for i in range(3)]
    given = [spoken(*turns, msgspec.structs.replace(DONE, thinking="So.")), spoken(DONE, task="short")]
    try:
        yield training_rows(given, nano_chat.tokenizer)
    finally:
        nano_chat.tokenizer.chat_template = usual


def losses_and_gradients(made, count):
    made.model.double()
    loss = made.compute_loss(made.model, batch_of(made, count))
    loss.backward()
    return [loss.detach(), *(p.grad for p in made.model.parameters())]


@pytest.mark.parametrize("more", [(), ("poft:beta=2",)])
def test_one_pass_has_the_gradients_of_several(trainer, thoughtful, more):
    """Of the usual loss, and of one that is not linear in what single rows say."""
    rng = np.random.default_rng(2)
    given = [
        Row(r.input_ids, [float(w * rng.uniform(0.1, 3)) for w in r.weights], [-0.5 * w for w in r.weights], source=r.source)
        for r in thoughtful
    ]
    assert [r.source for r in given] == [0, 0, 0, 0, 1]
    single = trainer(given, "single-pass", *more)
    micro = batch_of(single, 2)["micro"]
    assert micro.runs is not None
    assert micro.input_ids.numel() < 0.7 * sum(len(r.input_ids) for r in given)
    assert len(micro.at) == sum(r.trained for r in given)
    several = losses_and_gradients(trainer(given, *more), len(given))
    for one, other in zip(several, losses_and_gradients(single, 2), strict=True):
        assert (one - other).norm() <= 1e-5 * one.norm()


def test_a_model_that_cannot_take_trees_reads_the_sequences_beside_each_other(trainer, thoughtful, monkeypatch):
    monkeypatch.setattr("agentgym_training.sft.share", lambda model: model)
    made = trainer(thoughtful, "single-pass")
    micro = batch_of(made, 2)["micro"]
    assert (micro.runs, micro.input_ids.shape) == (None, (5, max(len(r.input_ids) for r in thoughtful)))
    several = losses_and_gradients(trainer(thoughtful), len(thoughtful))
    for one, other in zip(several, losses_and_gradients(made, 2), strict=True):
        assert (one - other).norm() <= 1e-5 * one.norm()


def test_what_changes_the_input_goes_with_one_pass_unless_it_reads_from_left_to_right(trainer, thoughtful):
    quiet, plain = trainer(thoughtful, "single-pass", "masked-thought:p=0", "neftune:alpha=0"), trainer(thoughtful, "single-pass")
    losses = [m.compute_loss(m.model, batch_of(m, 2)).item() for m in (quiet, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    noisy = trainer(thoughtful, "single-pass", "neftune:alpha=50")
    assert noisy.compute_loss(noisy.model, batch_of(noisy, 2)).item() != pytest.approx(losses[1], rel=1e-5)
    for spec in ("ift", "promot"):
        with pytest.raises(UserError, match=f"{spec} knows rows from left to right"):
            parse(["single-pass", spec])


def test_a_training_in_one_pass(nano_dir, thoughtful, tmp_path):
    config = Sft(objectives=("single-pass",), max_steps=1, batch_size=2, warmup=0.0, lr=1e-3)
    done = train_sft(nano_dir, thoughtful, tmp_path / "single", config)
    assert done["tokens"] == sum(len(r.input_ids) for r in thoughtful)
    train_sft(nano_dir, thoughtful, tmp_path / "several", config.model_copy(update={"objectives": (), "batch_size": 5}))
    one, other = weights(tmp_path / "single"), weights(tmp_path / "several")
    assert json.loads((tmp_path / "single" / "config.json").read_text()).get("_attn_implementation") is None
    assert max((one[n] - other[n]).abs().mean().item() for n in one) < 1e-5
