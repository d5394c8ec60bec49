"""The whole main job through the commands, as a user types them, at a size of seconds."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentgym.cli.main import build_app
from agentgym.cli.output import Output
from agentgym_training import demo
from agentgym_training.base import Training
from agentgym_training.cli import preference, sft
from agentgym_training.cli_options import OBJECTIVE_NAMES, conclude
from agentgym_training.demo import Size
from agentgym_training.objectives import OBJECTIVES
from agentgym_training.preference import Preference
from agentgym_training.sft import Sft
from agentgym_trajectories import Store
from agentgym_trajectories.cli import PAIR_RULES
from agentgym_trajectories.pairs import FILTERS, MAKERS, Pair
from agentgym_trajectories.select import SELECTORS
from tests.commands import run

ENV = ("--env", "desk/Orders-v0", "--env-arg", "level=easy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def gold(folder: Path) -> Path:
    """A collected and selected run."""
    made = run("collect", *ENV, "--tasks", 80, "--out", folder / "gold")
    assert (made["episodes"], made["played"], made["failed"], made["success"]) == (80, 80, 0, 1.0)
    again = run("collect", *ENV, "--tasks", 90, "--out", folder / "gold")
    assert (again["resumed"], again["played"]) == (80, 10)
    picked = run("select", folder / "gold", "--by", "reward:min=1", "--by", "errors", "--by", "length:turns=3")
    assert 0 < picked["kept"] <= picked["of"] == 90
    return folder / "gold"


@pytest.fixture(scope="module")
def base(folder: Path, gold: Path) -> Path:
    """A nano policy that has learnt nothing."""
    made = run("model", "init", gold, "--selection", "default", "--out", folder / "base", "--warmup-steps", 3)
    assert made["parameters"] > 100_000
    return folder / "base"


def test_export(gold: Path, folder: Path) -> None:
    made = run("export", gold, "--selection", "default", "--to", folder / "gold.jsonl")
    assert made["format"] == "jsonl"
    assert len((folder / "gold.jsonl").read_text().splitlines()) == made["trajectories"]
    assert run("export", gold, "--to", folder / "hf")["format"] == "hf"


@pytest.mark.parametrize("rank", [0, 4])
def test_train_and_evaluate(gold: Path, base: Path, folder: Path, rank: int) -> None:
    out = folder / f"policy-{rank}"
    options = ("--model", base, "--out", out, "--max-steps", 4, "--lr", 1e-3, "--lora-rank", rank, "--save-steps", 2)
    done = run("train", "sft", gold, "--selection", "default", *options)
    assert done["steps"] == 4
    assert (out / "metrics.jsonl").exists()
    assert (out / "adapter_config.json").exists() == (rank > 0)
    resumed = run("train", "sft", gold, "--selection", "default", *options, "--resume")
    assert resumed["steps"] == 4
    assert "other rows" in run("train", "sft", gold, *options, "--resume", code=2)["error"]
    kept = folder / f"eval-{rank}"
    run("eval", *ENV, "--policy", "oracle", "--tasks", 9, "--out", kept)  # another policy's episodes in the same run
    measured = run("eval", *ENV, "--policy", out, "--tasks", 6, "--max-tokens", 8, "--out", kept)
    assert measured["episodes"] == 6
    assert measured["success"] == 0.0
    settings = ("--policy", out, "--tasks", 6, "--max-tokens", 9, "--out", kept)
    assert '"max_tokens":8' in run("eval", *ENV, *settings, code=2)["error"]
    assert 0 <= measured["low"] <= measured["success"] <= measured["high"] <= 1
    assert {"failed", "errors", "turns", "tokens", "stops"} <= set(measured)
    assert measured["tokens"] > 0


def test_train_on_pairs(gold: Path, base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pairs(store: Store, name: str) -> Any:
        """The first half of the run is better than the second."""
        assert name == "halves"
        kept = list(store.trajectories())
        return (Pair(a, b, first=0, margin=1.0) for a, b in zip(kept[:45], kept[45:], strict=True))

    monkeypatch.setattr(Store, "pairs", pairs, raising=False)
    out = folder / "preferring"
    options = ("--pairs", "halves", "--model", base, "--max-steps", 2, "--batch-size", 4, "--lr", 1e-3)
    refused = run("train", "preference", gold, *options, "--out", out, "--loss", "ppo", code=2)["error"]
    assert "no preference loss 'ppo'" in refused
    refused = run("train", "preference", gold, *options, "--out", out, "--reference", "logged", code=2)["error"]
    assert "45 of 45 pairs have no logged logprobs" in refused
    assert not out.exists()
    done = run("train", "preference", gold, *options, "--out", out, "--loss", "ipo", "--lora-rank", 2)
    assert (done["steps"], done["pairs"]) == (2, 45)
    assert {"chosen_logps", "rejected_logps", "margin", "accuracy", "kl"} <= set(done)
    assert (out / "adapter_config.json").exists()
    config = json.loads((out / "training.json").read_text())
    assert (config["loss"], config["max_steps"], config["lora"]) == ("ipo", 2, {"rank": 2, "alpha": 4})
    assert "exists already" in run("train", "preference", gold, *options, "--out", out, code=2)["error"]


def test_kto_trains_on_trajectories_as_they_are(gold: Path, base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Store.trajectories

    def mixed(store: Store, selection: str | None = None) -> Any:
        for i, t in enumerate(kept(store, selection)):
            if i % 3 == 0:
                t.leaf.success = False
            yield t

    monkeypatch.setattr(Store, "trajectories", mixed)
    options = ("--model", base, "--max-steps", 2, "--batch-size", 4)
    refused = run("train", "preference", gold, *options, "--out", folder / "no", code=2)["error"]
    assert "dpo compares two sides" in refused
    assert not (folder / "no").exists()
    done = run("train", "preference", gold, *options, "--out", folder / "kto", "--loss", "kto")
    assert (done["steps"], done["pairs"]) == (2, 60)


@pytest.mark.parametrize(("command", "kind"), [(sft, Sft), (preference, Preference)])
def test_every_field_is_an_option(command: Callable[..., None], kind: type[Training]) -> None:
    assert set(kind.model_fields) - set(inspect.signature(command).parameters) == {"lora", "schedule", "warmup"}


def test_general_instructions_are_mixed_in(gold: Path, base: Path, folder: Path) -> None:
    run("collect", "--env", "instruct/Verifiable-v0", "--tasks", 10, "--out", folder / "general")
    objective = f"agenttuning:general={folder / 'general'},eta=0.25"
    options = ("--model", base, "--out", folder / "mixed", "--max-steps", 1, "--objective", objective)
    assert run("train", "sft", gold, *options)["rows"] == 120  # 90 and 30 of the 10 again and again


def test_evaluating_the_oracle_without_keeping_anything() -> None:
    measured = run("eval", *ENV, "--policy", "oracle", "--tasks", 20, "--samples", 2)
    assert (measured["success"], measured["episodes"], measured["tokens"]) == (1.0, 40, 0)


def test_text_for_people_says_what_comes_next(gold: Path, folder: Path) -> None:
    result = CliRunner().invoke(build_app(), ["collect", *ENV, "--tasks", "3", "--out", str(folder / "talk")])
    assert result.exit_code == 0
    assert "Collecting 3 tasks x 1 of desk/Orders-v0" in result.output
    assert f"Next: agentgym select {folder / 'talk'}" in result.output
    result = CliRunner().invoke(build_app(), ["eval", *ENV, "--policy", "oracle", "--tasks", "3"])
    assert "100.0%" in result.output


def said(*arguments: Any) -> list[str]:
    """The lines for people of a command."""
    done = CliRunner().invoke(build_app(), [*map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    return [line.rstrip() for line in done.output.splitlines()]


def test_what_is_added_beside_others_is_said(folder: Path) -> None:
    out = folder / "several"
    collect = ("collect", "--out", out, "--tasks", 2)
    assert not [line for line in said(*collect, *ENV) if "already holds" in line]
    assert not [line for line in said(*collect, *ENV) if "already holds" in line]
    lines = said(*collect, "--env", "games/KeyDoor-v0")
    assert f"{out} already holds 2 episodes of desk/Orders-v0 by oracle; these are added beside them." in lines
    lines = said("collect", "--out", out, "--tasks", 1, *ENV, "--policy", "random", "--seed", 1)
    (line,) = [line for line in lines if "already holds" in line]
    assert "2 episodes of desk/Orders-v0 by oracle, 2 episodes of games/KeyDoor-v0 by oracle; " in line
    for env in ("FrozenLake", "Taxi", "Blackjack"):
        lines = said(*collect, "--env", f"games/{env}-v0", "--policy", "random")
    (line,) = [line for line in lines if "already holds" in line]
    assert line.endswith("games/KeyDoor-v0 by oracle and those of 2 others; these are added beside them.")


def test_after_a_search_come_pairs(folder: Path) -> None:
    search = ("--search", "mcts", "--simulations", 2, "--policy", "random", "--tasks", 1)
    assert said("collect", *ENV, *search, "--out", folder / "trees")[-1] == f"Next: agentgym pairs {folder / 'trees'}"


def test_no_table_where_nothing_was_dropped(gold: Path) -> None:
    assert said("select", gold, "--name", "all")[1] == "Kept 90 of 90 trajectories as selection 'all' in " + str(gold) + "."
    assert "dropped" in said("select", gold, "--name", "none", "--by", "length:turns=0")[1]


def test_a_nano_policy_is_trained_as_fast_as_it_needs(gold: Path, folder: Path) -> None:
    lines = said("model", "init", gold, "--out", folder / "tiny", "--warmup-steps", 1)
    assert lines[-1] == f"Next: agentgym train sft {gold} --model {folder / 'tiny'} --out runs/policy --lr 3e-3 --epochs 5"


@pytest.mark.parametrize(
    ("speed", "shown"), [(0.0, "4 steps, loss"), (0.7, "4 steps, loss"), (1234.5, "4 steps, 1,234 tokens/s, loss")]
)
def test_a_speed_that_is_not_known_is_left_out(speed: float, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(Output(), Path("out"), {"steps": 4, "loss": 1.0, "tokens_per_second": speed}, {})
    assert capsys.readouterr().out.startswith(shown)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("select", ["reward:min=1", *SELECTORS]),
        ("pairs", [*PAIR_RULES, *MAKERS, *FILTERS]),
        ("train sft", [*OBJECTIVES]),
    ],
)
def test_help_names_what_there_is(command: str, names: list[str]) -> None:
    shown = " ".join("".join(said(*command.split(), "--help")).split())
    assert [name for name in names if name.replace("-", "") not in shown.replace("-", "").replace(" ", "")] == []


def test_help_names_all_objectives_and_no_others() -> None:
    assert ", ".join(OBJECTIVES) == OBJECTIVE_NAMES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("select", "{run}/nothing"), "agentgym collect --out"),
        (("select", "{run}/gold", "--by", "magic"), "no selector 'magic'"),
        (("export", "{run}/gold", "--to", "{run}/gold"), "exists already"),
        (("export", "{run}/gold", "--to", "{run}/x", "--format", "csv"), "no format 'csv'"),
        (("export", "{run}/gold", "--to", "{run}/x", "--selection", "s"), "no selection 's'"),
        (("train", "sft", "{run}/gold", "--model", "{run}/gold", "--out", "{run}/y"), "no model can be loaded"),
        (("train", "sft", "{run}/gold", "--model", "{run}/nothing", "--out", "{run}/y"), "there is no model directory"),
        (("train", "sft", "{run}/gold", "--model", "{run}/base", "--out", "{run}/gold/episodes.db"), "exists already"),
        (("train", "sft", "{run}/gold", "--model", "{run}/base", "--out", "{run}/y", "--lr", "0"), "--lr"),
        (("collect", *ENV, "--seed", "7", "--out", "{run}/gold"), 'played with {"seed":0}'),
        (("collect", *ENV, "--out", "{run}/base/config.json"), "is a file"),
        (("demo", "--seed", "-1", "--out", "{run}/z"), "--seed"),
        (("export", "{run}/gold", "--to", "{run}/x.csv"), "no format 'csv'"),
        (("train", "sft", "{run}/gold", "--model", "{run}/base", "--out", "{run}/base"), "exists already"),
        (("model", "init", "{run}/gold", "--out", "{run}/gold"), "exists already"),
        (("eval", *ENV, "--policy", "{run}/nobody"), "no policy"),
        (("eval", *ENV, "--policy", "oracle", "--split", "dev"), "no split 'dev'"),
        (("collect", "--env", "desk/Orders-v0", "--env-arg", "level=brutal", "--out", "{run}/z"), "no level 'brutal'"),
        (("collect", "--env", "desk/Orders-v0", "--env-arg", "level", "--out", "{run}/z"), "write KEY=VALUE"),
        (("collect", *ENV, "--policy", "oracle", "--tasks", "0", "--out", "{run}/z"), "--tasks"),
    ],
)
def test_wrong_input_is_one_clear_line_and_leaves_nothing(
    arguments: tuple[str, ...], message: str, folder: Path, base: Path
) -> None:
    before = sorted(folder.iterdir())
    error = run(*(a.format(run=folder) for a in arguments), code=2)["error"]
    assert message in error
    assert "Traceback" not in error
    assert sorted(folder.iterdir()) == before


def test_the_demo_runs_at_toy_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(tasks=60, test_tasks=5, warmup_steps=3, sft=Sft(max_steps=6, batch_size=4, lr=2e-3))
    monkeypatch.setattr(demo, "Size", lambda: size)
    outcome = run("demo", "--seed", 1, "--out", tmp_path / "demo")
    assert outcome["success_before"] == 0.0
    assert outcome["episodes"] == 60
    assert {"success_after", "seconds"} <= set(outcome)
    picture = Path(outcome["picture"]).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000
    assert "exists already" in run("demo", "--out", tmp_path / "demo", code=2)["error"]
