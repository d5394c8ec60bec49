"""Iterative training: what rounds learn from, and that a loop that is killed ends as one that was not."""

import asyncio
import copy
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentgym import UserError, make
from agentgym.cli.output import Output
from agentgym.sampling import oracle
from agentgym.sampling.transformers import weights_version
from agentgym_training.recipe import load_recipe
from agentgym_training.report.runs import read
from agentgym_training.run import run_recipe
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store

STAGES: dict[str, dict[str, Any]] = {
    "collect": {
        "tasks": 3,
        "samples": 2,
        "demonstrations": True,
        "search": {"name": "mcts", "simulations": 3, "width": 2},
    },
    "pairs": {"by": ["spin", "step:theta=0", "distinct"]},
    "preference": {"loss": "dpo", "max_steps": 3, "batch_size": 2, "lr": 1.0e-4, "reference": "previous"},
}
TINY: dict[str, Any] = {
    "env": "games/KeyDoor-v0",
    "env_args": {"level": "easy"},
    "max_tokens": 12,
    "stages": [
        {
            "stage": "warmup",
            "tasks": 12,
            "copy_steps": 2,
            "sft": {"max_steps": 3, "batch_size": 4, "lr": 1.0e-3},
        },
        {
            "stage": "rounds",
            "times": 2,
            "validation": 2,
            "stages": [{"stage": name} | given for name, given in STAGES.items()],
        },
        {"stage": "eval", "tasks": 2, "policies": ["first", "policy"]},
    ],
}
SFT = {"stage": "sft", "max_steps": 2, "batch_size": 2}


def tiny(tmp_path: Path, *more: dict[str, Any]) -> str:
    """A recipe in a file; of each round, these stages before the training on pairs."""
    made = copy.deepcopy(TINY)
    made["stages"][1]["stages"][2:2] = more
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(made))
    return str(tmp_path / "tiny.yaml")


def carry_out(tmp_path: Path, *changes: str, more: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Run it in `tmp_path`. Returns the result of its rounds."""
    done = run_recipe(load_recipe(tiny(tmp_path, *more), changes), tmp_path, Output(True))
    return dict(done["stages"].get("rounds", {}))


def test_rounds_learn_from_what_the_rounds_before_made(tmp_path: Path) -> None:
    done = carry_out(tmp_path, "rounds.buffer=2")
    assert [sorted(r) for r in done["rounds"]] == [["pairs", "sampled_tokens", "success", "successes"]] * 2
    assert all(r["pairs"] >= 6 and r["sampled_tokens"] > 0 for r in done["rounds"])
    stores = [Store(tmp_path / f"round-{n}") for n in (1, 2)]
    versions = [{e.version for e in s.episodes()} for s in stores]
    assert versions[0] & versions[1] == {"oracle"}  # each round plays with its own policy
    assert {v.rpartition("+")[2] for v in versions[0]} == {"oracle", "mcts/2x3", *(v for v in versions[0] if "+" not in v)}
    tasks = [{e.task.id for e in s.episodes()} for s in stores]
    assert not tasks[0] & tasks[1]
    rows = [json.loads((tmp_path / f"round-{n}/preference/training.json").read_text())["rows"] for n in (1, 2)]
    assert rows[0] != rows[1]
    for store in stores:
        store.close()
    assert carry_out(tmp_path, "rounds.buffer=2") == done  # all of it is done already
    told = read(tmp_path)
    assert [line.success for line in told.lines[:3]] == [done["start"], *(r["success"] for r in done["rounds"])]
    assert told.tokens == sum(r["sampled_tokens"] for r in done["rounds"])
    with pytest.raises(UserError, match=r"was made with another recipe or seed: rounds.buffer was 2 and is 1"):
        carry_out(tmp_path)


def pretend(out: Path, policy: Path, tasks: int, samples: int) -> None:
    """A first round begun, in which the policy has solved so many tasks so many times."""
    solved = Memory()
    chosen = make("desk/Orders-v0").unwrapped.tasks()[12 : 12 + tasks]
    asyncio.run(Rollout("desk/Orders-v0", samples=samples).run(chosen, oracle(), solved))
    with Store(out / "round-1", create=True) as store:
        for episode in solved.episodes:
            episode.version = weights_version(policy)
            store.add(episode)


def at_the_desk(policy: Path) -> list[str]:
    return ["env=desk/Orders-v0", "env_args={}", "warmup=null", "start=12", f"policy={policy}"]


def test_only_tasks_that_are_not_solved_every_time_are_searched(tmp_path: Path, nano_dir: Path) -> None:
    pretend(tmp_path, nano_dir, tasks=2, samples=2)
    carry_out(tmp_path, *at_the_desk(nano_dir), "rounds.times=1")
    with Store(tmp_path / "round-1") as store:
        assert {e.task.id for e in store.episodes() if "+" in e.version} == {"train-14"}


def test_a_round_that_finds_nothing_trains_nothing(tmp_path: Path) -> None:
    """A policy that knows nothing solves nothing, and what earned the same makes no pairs."""
    nothing = ("rounds.collect.demonstrations=false", "rounds.collect.search=null", "rounds.pairs.by=[outcome]")
    done = carry_out(tmp_path, "rounds.patience=1", *nothing, more=(SFT,))
    assert (done["rounds"][0]["pairs"], done["rounds"][0]["successes"]) == (0, 0)
    assert len(done["rounds"]) == 1  # and patience ends it
    for name in ("sft", "preference"):
        assert not (tmp_path / "round-1" / name).exists()
        assert json.loads((tmp_path / f"round-1/{name}.json").read_text())["skipped"]


def test_failures_are_learnt_from_where_the_recipe_says_so(tmp_path: Path) -> None:
    sft = SFT | {"objectives": ["faft"], "failures": True}
    changes = ("rounds.times=1", "rounds.preference=null", "rounds.pairs=null", "rounds.collect.search=null")
    done = carry_out(tmp_path, *changes, more=(sft,))
    assert done["rounds"][0]["successes"] > 0  # a policy that knows nothing fails in several ways
    assert json.loads((tmp_path / "round-1/sft/training.json").read_text())["objectives"] == ["faft"]


def test_successes_are_learnt_from_before_pairs(tmp_path: Path, nano_dir: Path) -> None:
    """The reference is the policy that played, not the one that the successes made of it."""
    pretend(tmp_path, nano_dir, tasks=3, samples=1)  # of each task it has another attempt
    changes = ("rounds.times=1", "rounds.collect.search=null", "rounds.pairs.by=[spin]")
    (made,) = carry_out(tmp_path, *at_the_desk(nano_dir), *changes, more=(SFT | {"lr": 1.0e-3},))["rounds"]
    assert (made["successes"], made["pairs"]) == (3, 6)
    folder = tmp_path / "round-1"
    assert json.loads((folder / "preference/training.json").read_text())["reference"] == str(nano_dir)
    assert json.loads((folder / "sft.json").read_text())["steps"] == 2
    assert json.loads((folder / "preference.json").read_text())["kl"] > 0  # it began where the successes had led
    assert weights_version(folder / "sft") != weights_version(folder / "preference")


def test_a_warm_up_may_begin_with_easier_tasks(tmp_path: Path) -> None:
    carry_out(tmp_path, "warmup.easier=[{env_args: {level: hard}, tasks: 5}]", "rounds=null")
    with Store(tmp_path / "warmup") as store:
        levels = [e.env_args["level"] for e in store.episodes()]
    assert levels == ["hard"] * 5 + ["easy"] * 12


RUN = """
import sys
from pathlib import Path
from agentgym_training.cli_run import loop
loop(sys.argv[1], Path(sys.argv[2]), 0, True)
"""


def test_a_loop_that_is_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    recipe = tiny(tmp_path)
    whole = run_recipe(load_recipe(recipe), tmp_path / "whole", Output(True))
    chance = random.Random(3)

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", RUN, recipe, str(tmp_path / "killed")]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)

    for _ in range(4):
        with start() as process:
            try:
                process.wait(chance.uniform(5, 12))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
    with start() as process:
        out, _ = process.communicate()
    ended = json.loads(out.splitlines()[-1])
    told = whole["stages"]["rounds"], whole["stages"]["eval"]["policies"]
    assert ended["rounds"] == told[0]["rounds"]
    assert ended["success"] == {"start": told[1]["first"]["success"], "best": told[1]["policy"]["success"]}
    rows = "round-1/preference/training.json"
    assert (tmp_path / "killed" / rows).read_text() == (tmp_path / "whole" / rows).read_text()
    with Store(tmp_path / "killed/round-1") as one, Store(tmp_path / "whole/round-1") as other:
        assert sorted(map(shown, one.pairs("pairs"))) == sorted(map(shown, other.pairs("pairs")))


def shown(pair: Any) -> tuple[Any, ...]:
    return (*pair.task, pair.chosen.token_ids or [], pair.rejected.token_ids or [], pair.first, pair.margin, pair.method)
