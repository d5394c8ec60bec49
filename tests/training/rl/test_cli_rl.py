"""The command, as a user types it."""

import json

import pytest
from typer.testing import CliRunner

from agentgym import UserError
from agentgym.cli.main import build_app
from agentgym_training.rl.config import RL

TINY = ("--updates", 2, "--tasks", 2, "--samples", 2, "--max-tokens", 6, "--eval-tasks", 3, "--env", "games/KeyDoor-v0")


def run(*arguments, code=0, command="rl"):
    result = CliRunner().invoke(build_app(), ["train", command, *map(str, arguments), "--json"])
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout.splitlines()[-1]) if code == 0 else result.stderr or str(result.exception)


def test_train_rl(nano_dir, tmp_path):
    asked = (*TINY, "--model", nano_dir, "--out", tmp_path / "rl", "--reference", nano_dir, "--reference", nano_dir, "--kl", 0.01)
    asked = (*asked, "--reward", "environment", "--reward", "errors:form=0.5")
    done = run(*asked)
    assert {"success_before", "success_after", "sampled_tokens", "updates", "model"} <= set(done)
    assert done["updates"] == 2
    assert done["sampled_tokens"] > 0
    assert "exists already" in run(*asked, code=2)
    assert run(*asked, "--resume") == done
    first = json.loads((tmp_path / "rl/before.json").read_text())
    (tmp_path / "rl/before.json").write_text(json.dumps(first | {"success": 0.125}))
    assert run(*asked, "--resume")["success_before"] == 0.125  # measured once
    assert run(*asked, "--resume", "--eval-tasks", 2)["success_before"] == done["success_before"] == 0  # of other tasks: anew
    assert json.loads((tmp_path / "rl/after.json").read_text())["episodes"] == 2
    assert "had other rows" in run(*asked, "--resume", "--reward", "length", code=2)
    assert "had other lr" in run(*asked, "--resume", "--lr", 0.1, code=2)
    assert (
        run(
            *TINY,
            "--model",
            nano_dir,
            "--out",
            tmp_path / "next",
            "--staleness",
            1,
            "--stage",
            "since=2,turns=2",
            "--lora-rank",
            2,
            "--eval-tasks",
            0,
        )["success_before"]
        is None
    )


def test_wrong_input_is_one_clear_line(nano_dir, tmp_path):
    asked = (*TINY, "--model", nano_dir, "--out", tmp_path / "rl")
    assert "no method 'grpoo' of reinforcement learning: choose from grpo" in run(*asked, "--method", "grpoo", code=2)
    assert "no model directory" in run(*TINY, "--model", tmp_path / "no", "--out", tmp_path / "rl2", code=2)
    assert "there is no reward 'x'" in run(*asked, "--reward", "x", code=2)
    other = run(*asked, "--eval-tasks", 0, "--kl", 0.1, "--reference", tmp_path / "no", code=2)
    assert "no model directory" in other
    with pytest.raises(UserError, match="choose from"):
        RL(method="x")


def test_train_es(nano_dir, tmp_path):
    asked = ("--env", "desk/Orders-v0", "--model", nano_dir, "--out", tmp_path / "es", "--updates", 1, "--pairs", 1, "--tasks", 2)
    done = run(*asked, "--max-tokens", 4, command="es")
    assert {"updates", "sampled_tokens", "reward", "model"} == set(done)
    assert run(*asked, "--max-tokens", 4, "--resume", command="es") == done
