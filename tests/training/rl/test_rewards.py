"""What actions earn beside the environment's word, worked out by hand; and a reward model that tells good from bad."""

import asyncio
import json
import math
import shutil
from types import SimpleNamespace

import msgspec
import pytest
import torch
from safetensors.torch import load_file

import agentgym
from agentgym import ErrorCategory, SamplerFailure, UserError
from agentgym.cli.output import Output
from agentgym.judging import ATTEMPTS
from agentgym.sampling import Sample
from agentgym_training.base import Lora
from agentgym_training.reward_model import RewardModel, RewardModelling, rated_rows, train_attribute_model, train_reward_model
from agentgym_training.rl.es import ES, Evolution
from agentgym_training.rl.judge import Judge, transcript, verdict
from agentgym_training.rl.loop import Loop
from agentgym_training.rl.rewards import Environment, Errors, Length, Outcome, Part, Total, rewards_named, settled
from agentgym_training.rl.turns import environment_reward, turns_of
from agentgym_training.rows import PairRow, Row
from agentgym_trajectories.pairs import Pair
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode
from tests.commands import run

from .conftest import ENV
from .conftest import QUICK as QUICK_RL


@pytest.fixture
def trajectory():
    """Three actions of 2, 3 and 5 tokens."""
    episode = Episode("x", agentgym.Task("x", id="train-0"), 0, "v")
    mistakes = [(), (ErrorCategory.BAD_FORMAT, ErrorCategory.UNKNOWN_TOOL), (ErrorCategory.TOOL_ERROR,)]
    for i, (errors, size) in enumerate(zip(mistakes, (2, 3, 5), strict=True)):
        parent = episode.add(2 * i - 1, "observation", (agentgym.user("x"),), token_ids=[1]).id
        ids, logprobs, parts = list(range(size)), [-1.0] * size, {"style": 0.1 * i}
        said = (agentgym.assistant("y"),)
        episode.add(parent, "action", said, token_ids=ids, logprobs=logprobs, reward=float(i), rewards=parts, errors=errors)
    return next(episode.trajectories())


def test_each_reward(trajectory):
    assert environment_reward(trajectory) == [0, 1, 2]
    assert Environment(0.5)(trajectory) == [0, 0.5, 1]
    assert Part("style", 10)(trajectory) == pytest.approx([0, 1, 2])
    assert Part("other")(trajectory) == [0, 0, 0]
    assert Errors()(trajectory) == pytest.approx([0, -0.35, -0.05])
    assert Total((Environment(), Errors(form=1.0, tool=0.0)))(trajectory) == pytest.approx([0, 0, 1.95])


@pytest.mark.parametrize(
    ("limit", "margin", "wanted"), [(10, 4, -1), (12, 4, -0.5), (14, 4, 0), (100, 4, 0), (8, 2, -1), (5, 0, -1)]
)
def test_long_trajectories_pay(trajectory, limit, margin, wanted):
    """Ten tokens were sampled."""
    assert Length(limit, margin)(trajectory) == [0, 0, wanted]


def test_every_category_costs_something():
    costs = Errors()
    for category in ErrorCategory:
        episode = Episode("x", agentgym.Task("x", id="train-0"), 0, "v")
        episode.add(-1, "observation", (agentgym.user("x"),))
        episode.add(0, "action", (agentgym.assistant("y"),), errors=(category,))
        assert costs(next(episode.trajectories()))[0] < 0


def test_rewards_by_name(trajectory):
    assert rewards_named(()) is environment_reward
    assert rewards_named(["environment:weight=2", "part:name=style"])(trajectory) == pytest.approx([0, 2.1, 4.2])
    with pytest.raises(UserError, match="has no option 'wight'"):
        rewards_named(["environment:wight=2"])
    assert turns_of([trajectory.episode], rewards_named(["errors"])).reward == pytest.approx([0, -0.35, -0.05])


QUICK = RewardModelling(max_steps=12, batch_size=4, lr=1e-3, save_steps=6)


@pytest.fixture(scope="module")
def pairs(demonstrations, nano_chat):
    """Demonstrations against the same ones cut short."""
    made = []
    for t in demonstrations[:24]:
        ids = nano_chat.encode(nano_chat.render(t.messages, t.episode.tools, prompt=False))
        short = ids[: 2 * len(ids) // 3]
        made.append(PairRow(Row(ids, [1.0] * len(ids)), Row(short, [1.0] * len(short))))
    return made


def test_a_reward_model_tells_good_from_bad(nano_dir, pairs, chains, demonstrations, tmp_path):
    done = train_reward_model(nano_dir, pairs, tmp_path / "whole", QUICK)
    assert done["accuracy"] == 1
    assert done["loss"] < math.log(2) / 2
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    shutil.copytree(tmp_path / "whole/checkpoint-6", stopped / "checkpoint-6")
    for name in ("metrics.jsonl", "training.json"):
        shutil.copy(tmp_path / "whole" / name, stopped)
    train_reward_model(nano_dir, pairs, stopped, QUICK, resume=True)
    one, other = (load_file(d / "model.safetensors") for d in (tmp_path / "whole", stopped))
    assert all(one[k].equal(other[k]) for k in one)
    reward = rewards_named([f"model:{tmp_path / 'whole'},weight=2", "environment:0.5"])
    assert repr(reward) == repr(
        rewards_named([f"model:{tmp_path / 'whole'},weight=2", "environment:0.5"])
    )  # a run knows it again
    assert asyncio.run(settled(reward, chains)) == chains
    trajectory, judge = next(chains[0].trajectories()), RewardModel(tmp_path / "whole")
    first, last = reward(trajectory)
    assert [first, last] == [0.5 * r for r in environment_reward(trajectory)[:1]] + [
        pytest.approx(2 * judge(trajectory) + 0.5 * trajectory.actions[1].reward)
    ]
    assert math.isfinite(last)
    assert judge(trajectory) != 0
    with pytest.raises(UserError, match="another vocabulary"):
        judge(demonstrations[0])
    with pytest.raises(UserError, match="knows no attribute 'style': it has value"):
        RewardModel(tmp_path / "whole", {"style": 1.0})
    with pytest.raises(UserError, match="there are no pairs"):
        train_reward_model(nano_dir, [], tmp_path / "x", QUICK)


# ---- several attributes ------------------------------------------------------------------------------------------------


def told(chains):
    """The same episodes, rated for how they begin, and every third one for nothing else."""
    made = []
    for i, episode in enumerate(chains):
        parts = {"begin": 0.1 * (i % 3), "end": 1.0 - 0.1 * (i % 4)} if i % 3 else {"begin": 0.1 * (i % 3)}
        nodes = [msgspec.structs.replace(n, rewards=parts if n.kind == "action" and n.parent == 0 else {}) for n in episode.nodes]
        made.append(msgspec.structs.replace(episode, nodes=nodes))
    return [t for e in made for t in e.trajectories()]


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8)])
def test_attributes_are_foretold(nano_dir, nano_chat, chains, tmp_path, lora):
    """Each by its own number, those nobody rated left out; the reward is their weighted sum, and stays so on disk."""
    trajectories = told(chains)
    rated = rated_rows(trajectories, nano_chat.tokenizer, ["end", "begin"])
    assert [set(r.ratings) for r in rated[:2]] == [{"begin"}, {"begin", "end"}]
    assert rated[1].row.input_ids == trajectories[1].token_ids
    assert not rated_rows(trajectories, nano_chat.tokenizer, ["begin"], max_length=3)
    config = RewardModelling(max_steps=40, batch_size=12, lr=5e-3, lora=lora)
    done = train_attribute_model(nano_dir, rated, tmp_path, config, {"end": 2.0, "begin": -1.0})
    assert done["loss"] < 0.02
    model = RewardModel(tmp_path)
    for trajectory, r in zip(trajectories, rated, strict=True):
        found = model.attributes(trajectory)
        assert {name: found[name] for name in r.ratings} == pytest.approx(dict(r.ratings), abs=0.3)
        assert model(trajectory) == pytest.approx(2 * found["end"] - found["begin"])
    assert RewardModel(tmp_path, {"begin": 1.0})(trajectories[0]) == pytest.approx(model.attributes(trajectories[0])["begin"])
    assert json.loads((tmp_path / "attributes.json").read_text()) == {"end": 2.0, "begin": -1.0}
    with pytest.raises(UserError, match=r"nothing is rated for \['style'\]"):
        train_attribute_model(nano_dir, rated, tmp_path / "x", config, {"style": 1.0})


def test_unknown_ratings_have_no_gradient(nano_dir, nano_chat, chains):
    """The loss of a batch is the mean over what is known, written out."""
    from agentgym_training.reward_model import _Ratings, _Regression

    rated = rated_rows(told(chains)[:4], nano_chat.tokenizer, ["begin", "end"])
    batch = _Ratings(rated, ["begin", "end"], 0)([{"row": i} for i in range(4)])
    given = torch.arange(1.0, 9).reshape(4, 2).requires_grad_()
    loss = _Regression.compute_loss(None, lambda **_: SimpleNamespace(logits=given), dict(batch))
    known = [(i, k) for i, r in enumerate(rated) for k, name in enumerate(("begin", "end")) if name in r.ratings]
    wanted = [(1 + 2 * i + k - rated[i].ratings[("begin", "end")[k]]) ** 2 for i, k in known]
    assert loss.item() == pytest.approx(sum(wanted) / len(known))
    loss.backward()
    assert [(int(i), int(k)) for i, k in given.grad.nonzero()] == known


def test_train_reward(nano_dir, chains, tmp_path):
    with Store(tmp_path / "run", create=True) as store:
        for trajectory in told(chains):
            store.add(trajectory.episode)
        better, worse, *_ = store.trajectories()
        store.add_pairs("few", [(Pair(better, worse, first=0, margin=1.0), "")])
    asked = ("train", "reward", tmp_path / "run", "--model", nano_dir, "--max-steps", 2, "--batch-size", 4)
    done = run(*asked, "--out", tmp_path / "rm", "--attribute", "begin", "--attribute", "end=0.5")
    assert done["rated"] == 6
    assert RewardModel(tmp_path / "rm").weights == {"begin": 1.0, "end": 0.5}
    assert run(*asked, "--out", tmp_path / "pairs", "--pairs", "few")["pairs"] == 1
    assert "give one of both" in run(*asked, "--out", tmp_path / "x", code=2)["error"]
    assert "no number" in run(*asked, "--out", tmp_path / "x", "--attribute", "end=much", code=2)["error"]
    assert "has no pairs 'p'" in run(*asked, "--out", tmp_path / "x", "--pairs", "p", code=2)["error"]


# ---- a judge -----------------------------------------------------------------------------------------------------------


class Clerk:
    """Answers by rote, and remembers what it was asked."""

    chat = None

    def __init__(self, *answers):
        self.answers, self.asked, self.closed = list(answers), [], False

    async def sample(self, requests):
        self.asked += requests
        answer = self.answers.pop(0)
        if answer is None:
            raise SamplerFailure("asleep")
        return [Sample(agentgym.assistant(answer))]

    async def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7", 0.7),
        ("It is a 10.", 1.0),
        ("Of 10 points: 2.5", 0.25),
        ("", None),
        ("11", None),
        ("-3", None),
        ("good", None),
        ("0", 0),
    ],
)
def test_a_verdict_is_a_number_from_0_to_10(text, wanted):
    assert verdict(text) == wanted


def test_a_judge_reads_the_whole_and_is_asked_again(trajectory):
    clerk = Clerk(None, "hm", "8")
    assert asyncio.run(Judge("clerk", clerk)([trajectory])) == [0.8]
    assert len({r.seed for r in clerk.asked}) == ATTEMPTS == 3
    assert transcript(trajectory) == "\n".join(["user: x", "assistant: y"] * 3)
    assert transcript(trajectory) in clerk.asked[0].messages[0].content
    assert asyncio.run(Judge("clerk", Clerk("hm", "hm", None))([trajectory])) == [None]


def test_an_episode_without_a_verdict_is_left_out_and_nobody_is_asked_twice(chains):
    clerk = Clerk(*["5"] * 5, *["?"] * 3, *["5"] * 6)
    reward = Total((Environment(), Outcome(Judge("clerk", clerk), 2)))
    for _ in range(2):
        kept = asyncio.run(settled(reward, chains))
        assert len(kept) == len(chains) - 1
    assert len(clerk.asked) == len(chains) + 2
    trajectory = next(kept[0].trajectories())
    assert reward(trajectory)[-1] == pytest.approx(trajectory.actions[-1].reward + 1)


def test_a_judged_training(train, nano_dir, tmp_path, monkeypatch):
    """The log says how many episodes were lost to a judge without an opinion."""
    judge = Judge("clerk", Clerk(*["5", "9"] * 4, *["?"] * 3, *["3"] * 40))
    loop = Loop(ENV, {}, nano_dir, tmp_path, QUICK_RL.model_copy(update={"updates": 2}), Output(True), Total((Outcome(judge),)))
    loop.run()
    assert [(line["episodes"], line["failed"]) for line in loop.lines] == [(8, 0), (7, 1)]
    assert loop.lines[0]["reward"] == pytest.approx(0.7)
    assert judge.sampler.closed
    with pytest.raises(UserError, match="evolution strategies ask nobody"):
        Evolution(ENV, {}, nano_dir, tmp_path / "es", ES(), Output(True), Outcome(judge)).run()


def test_a_model_can_be_the_judge(nano_dir, chains):
    reward = rewards_named([f"judge:{nano_dir},max_tokens=3"])
    kept = asyncio.run(settled(reward, chains[:2]))  # it has learnt nothing: what it says is no number, or any
    assert len(kept) <= 2
    assert repr(reward) == f"Total(terms=(Outcome(ask=Judge(policy={str(nano_dir)!r}), weight=1.0),))"
    with pytest.raises(UserError, match="there is no policy 'nobody'"):
        rewards_named(["judge:nobody"])
