"""Selections are compared at equal size, once, with what they cost; the commands around it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentgym import UserError
from agentgym.cli.output import Output
from agentgym_training.cli_compare import compare as compare_command
from agentgym_training.cli_plan import plan as plan_command
from agentgym_training.compare import Comparison, Variant
from agentgym_training.sft import Sft
from agentgym_trajectories import Store
from agentgym_trajectories.tree import Trajectory


@pytest.fixture(scope="module")
def run_dir(demonstrations: list[Trajectory], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with Store(folder, create=True) as store:
        for t in demonstrations[:20]:
            store.add(t.episode)
    return folder


def invoke(command: Any, *arguments: object, code: int = 0) -> tuple[dict[str, Any], str]:
    import typer

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(a) for a in (*arguments, "--json")])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout.splitlines()[-1]) if code == 0 else {}, result.output


def test_variants_have_names() -> None:
    assert [v.name for v in (Variant(sized=False), Variant())] == ["everything", "random"]
    assert Variant(("errors", "near")).name == "errors+near"
    assert Variant(objectives=("neftune",), sized=False).name == "neftune"
    assert Variant(("errors",), ("neftune",)).name == "errors neftune"


def test_a_comparison_is_of_equal_size_and_done_once(run_dir: Path, nano_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "cmp"
    arguments = (run_dir, "--model", nano_dir, "--env", "desk/Orders-v0", "--out", out, "--steps", 1, "--batch-size", 2)
    ways = ("--by", "length:turns=3", "--by", f"errors+perplexity:model={nano_dir},keep=0.5", "--objective", "tl-training")
    found, _ = invoke(compare_command, *arguments, *ways, "--tasks", 2, "--max-tokens", 4)
    results = {r["name"]: r for r in found["results"]}
    assert len(results) == 5
    sizes = {name.partition(":")[0]: (r["kept"], r["used"]) for name, r in results.items()}
    assert sizes["everything"] == (20, 20)
    assert sizes["tl-training"] == (20, 20)
    short = sizes["length"][0]
    count = min(short, 10)
    assert sizes["random"] == (20, count)
    assert sizes["errors+perplexity"] == (10, count)
    costs = {name.partition(":")[0]: r["scored_tokens"] for name, r in results.items()}
    assert costs["errors+perplexity"] > 0 == costs["length"] == costs["everything"]
    assert all(r["train_seconds"] > 0 and r["trained_tokens"] > 0 and 0 <= r["success"] <= 1 for r in results.values())
    before = {f: f.stat().st_mtime_ns for f in out.rglob("model.safetensors")}
    assert len(before) == 5
    again, _ = invoke(compare_command, *arguments, *ways, "--tasks", 2, "--max-tokens", 4)
    assert again == found
    assert {f: f.stat().st_mtime_ns for f in out.rglob("model.safetensors")} == before


def test_what_cannot_be_compared_is_refused_before_anything_is_done(run_dir: Path, nano_dir: Path, tmp_path: Path) -> None:
    comparison = Comparison(run_dir, nano_dir, "desk/Orders-v0", {}, Sft(max_steps=1), tmp_path / "out", count=15)
    for variant, message in (
        (Variant(("lenght",)), "no selector 'lenght'"),
        (Variant(objectives=("x",)), "no objective 'x'"),
    ):
        with pytest.raises(UserError, match=message):
            comparison.carry_out([Variant(), variant], Output(True))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"length:turns=1 keeps 0 trajectories, not 15: give a smaller --count"):
        comparison.carry_out([Variant(("length:turns=1",))], Output(True))


def test_plan_says_how_to_split_and_who_found_it() -> None:
    found, text = invoke(
        plan_command, "--examples", 8000, "--example-price", 2, "--pairs", 20000, "--pair-price", 0.5, "--budget", 6000
    )
    assert found["examples"] * 2 + found["pairs"] * 0.5 == pytest.approx(found["cost"])
    assert found["cost"] <= 6000
    assert found["pairs"] > 0
    assert "2502.11284" in json.dumps(found["findings"])
    few, text = invoke(plan_command, "--examples", 500, "--pairs", 100)
    assert (few["examples"], few["pairs"]) == (500, 0)
    assert "2502.11284" in text
