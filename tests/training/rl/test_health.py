"""Alarms ring when they should and only then; every token of every episode can be looked at."""

import json

import pytest
from typer.testing import CliRunner

from agentgym import UserError
from agentgym.cli.main import build_app
from agentgym.sampling.transformers import load_tokenizer
from agentgym_training.report.runs import read
from agentgym_training.rl.health import alarms
from agentgym_training.rl.tokens import as_html, as_text, tokens_of
from agentgym_trajectories.store import Store

WELL = {"entropy": 1.0, "ratio_max": 1.5, "drift": 1e-4, "valid": 0.9, "grad_norm": 0.5}


def after(**changes):
    return alarms([WELL] * 20 + [WELL | changes] * 5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"entropy": 0.05}, "entropy collapsed: 0.05 nats, 1 at the beginning"),
        ({"ratio_max": 50.0}, "a ratio of 50 to the old policy"),
        ({"drift": 0.2}, "0.2 nats a token apart"),
        ({"drift": 0.02}, "sampler and trainer are 0.02"),
        ({"valid": 0.6}, "only 60.0% of actions are valid, 90.0% were"),
        ({"grad_norm": float("inf")}, "a gradient was not finite"),
    ],
)
def test_each_alarm(changes, text):
    (alarm,) = after(**changes)
    assert text in alarm


@pytest.mark.parametrize("changes", [{}, {"entropy": 0.3}, {"ratio_max": 3.0}, {"drift": 5e-4}, {"valid": 0.8}, {"valid": 1.0}])
def test_no_alarm_where_all_is_well(changes):
    assert after(**changes) == []


def test_an_update_without_anything_to_learn_is_no_alarm():
    assert alarms([WELL, {"valid": 0.9}]) == []
    assert alarms([{"valid": 0.9}]) == []


@pytest.mark.parametrize("line", [{"valid": 0.9}, WELL | {"grad_norm": 0.0}])
def test_attempts_that_all_earn_the_same_are_an_alarm(line):
    """Whether their groups were left out, or kept without advantages."""
    assert "nothing was learnt in 5 updates" in alarms([WELL] * 5 + [line] * 5)[0]
    assert not alarms([WELL] * 5 + [line] * 4)


def test_an_alarm_is_told_and_logged(train, tmp_path, capsys):
    loop = train(tmp_path, updates=5, tasks=4, samples=8, lr=0.3)
    assert "entropy collapsed" in loop.lines[-1]["alarms"]
    assert "Alarm: entropy collapsed" in capsys.readouterr().err
    assert (tmp_path / "rl.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("method", ["grpo", "tree-grpo"])
def test_every_token_can_be_looked_at(train, nano_dir, tmp_path, method):
    out, words = tmp_path / "rl", load_tokenizer(nano_dir)
    train(out, updates=1, method=method)
    with Store(out / "rollouts") as store:
        episodes = list(store.episodes())
    for episode in episodes:
        found = tokens_of(out, 1, episode.task.id, episode.sample, words)
        assert [t.id for t in found] == [i for n in episode.nodes for i in n.token_ids]
        for node in episode.nodes:
            mine = [t for t in found if t.node == node.id]
            if node.kind == "observation":
                assert all(t.sampled is t.advantage is None for t in mine)
            elif any(t.advantage for t in mine):
                assert [t.sampled for t in mine] == node.logprobs
                assert [t.new for t in mine] == pytest.approx(node.logprobs, abs=1e-4)
                assert len({t.advantage for t in mine}) == 1
    told = read(out)
    assert (told.kind, told.lines[0].episodes) == ("RL", len(episodes))
    lines = as_text(found).splitlines()
    assert len(lines) == len(found) + 1
    page = as_html(found, "<title>")
    assert page.count("<span") == len(found)
    assert "&lt;title&gt;" in page
    assert "<|im_start|>" not in page
    task = episodes[0].task.id
    asked = ["train", "tokens", str(out), "--update", "1", "--task", task]
    shown = CliRunner().invoke(build_app(), asked)
    assert " advantage  text" in shown.output
    made = CliRunner().invoke(build_app(), [*asked, "--html", str(tmp_path / "x.html"), "--json"])
    assert len(json.loads(made.stdout)["tokens"]) == (tmp_path / "x.html").read_text().count("<span")
    for update, name, text in (
        (9, task, "there is no update 9"),
        (1, "train-x", f"no sample 0 of task 'train-x': its tasks are {task}"),
    ):
        with pytest.raises(UserError, match=text):
            tokens_of(out, update, name, 0, words)
