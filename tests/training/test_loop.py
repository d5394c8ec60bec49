"""Iterative training: recipes are read strictly, and a loop that is killed ends as one that was not."""

import asyncio
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
from agentgym_training.loop import PAIRS, Loop
from agentgym_training.recipe import SHIPPED, Recipe, load_recipe
from agentgym_training.report.runs import read
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store

TINY: dict[str, Any] = {
    "env": "games/KeyDoor-v0",
    "env_args": {"level": "easy"},
    "warmup": {"tasks": 12, "copy_steps": 2, "sft": {"max_steps": 3, "batch_size": 4, "lr": 1.0e-3}},
    "rounds": 2,
    "tasks": 3,
    "samples": 2,
    "demonstrations": True,
    "max_tokens": 12,
    "search": {"name": "mcts", "simulations": 3, "width": 2},
    "pairs": ["spin", "step:theta=0", "distinct"],
    "preference": {"loss": "dpo", "max_steps": 3, "batch_size": 2, "lr": 1.0e-4},
    "reference": "previous",
    "validation": 2,
    "test": 2,
}


def carry_out(out: Path, **changes: Any) -> dict[str, Any]:
    return Loop(Recipe.model_validate(TINY | changes), out, 0, Output(True)).run()


def test_rounds_learn_from_what_the_rounds_before_made(tmp_path: Path) -> None:
    done = carry_out(tmp_path, buffer=2)
    assert [sorted(r) for r in done["rounds"]] == [["pairs", "sampled_tokens", "success", "successes"]] * 2
    assert all(r["pairs"] >= 6 and r["sampled_tokens"] > 0 for r in done["rounds"])
    stores = [Store(tmp_path / f"round-{n}") for n in (1, 2)]
    versions = [{e.version for e in s.episodes()} for s in stores]
    assert versions[0] & versions[1] == {"oracle"}  # each round plays with its own policy
    assert {v.rpartition("+")[2] for v in versions[0]} == {"oracle", "mcts/2x3", *(v for v in versions[0] if "+" not in v)}
    tasks = [{e.task.id for e in s.episodes()} for s in stores]
    assert not tasks[0] & tasks[1]
    rows = [json.loads((tmp_path / f"round-{n}/policy/training.json").read_text())["rows"] for n in (1, 2)]
    assert rows[0] != rows[1]
    for store in stores:
        store.close()
    assert carry_out(tmp_path, buffer=2) == done  # all of it is done already
    told = read(tmp_path)
    assert [line.success for line in told.lines[:3]] == [done["start"], *(r["success"] for r in done["rounds"])]
    assert told.tokens == sum(r["sampled_tokens"] for r in done["rounds"])
    with pytest.raises(UserError, match="was made with another recipe or seed"):
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


def test_only_tasks_that_are_not_solved_every_time_are_searched(tmp_path: Path, nano_dir: Path) -> None:
    pretend(tmp_path, nano_dir, tasks=2, samples=2)
    carry_out(tmp_path, env="desk/Orders-v0", env_args={}, rounds=1, policy=str(nano_dir))
    with Store(tmp_path / "round-1") as store:
        assert {e.task.id for e in store.episodes() if "+" in e.version} == {"train-14"}


def test_own_successes_are_learnt_from_without_pairs(tmp_path: Path) -> None:
    done = carry_out(tmp_path, rounds=2, patience=1, preference=None, sft={"max_steps": 2, "batch_size": 2}, search=None)
    assert (done["rounds"][0]["pairs"], done["rounds"][0]["successes"]) == (0, 0)  # a policy that knows nothing solves nothing
    assert len(done["rounds"]) == 1  # and patience ends it
    assert not (tmp_path / "round-1/policy").exists()


def test_failures_are_learnt_from_where_the_recipe_says_so(tmp_path: Path) -> None:
    sft = {"max_steps": 2, "batch_size": 2, "objectives": ["faft"]}
    done = carry_out(tmp_path, rounds=1, preference=None, sft=sft, failures=True, search=None)
    assert done["rounds"][0]["successes"] > 0  # a policy that knows nothing fails in several ways
    assert json.loads((tmp_path / "round-1/policy/training.json").read_text())["objectives"] == ["faft"]


def test_successes_are_learnt_from_before_pairs(tmp_path: Path, nano_dir: Path) -> None:
    """The reference is the policy that played, not the one that the successes made of it."""
    pretend(tmp_path, nano_dir, tasks=3, samples=1)  # of each task it has another attempt
    sft = {"max_steps": 2, "batch_size": 2, "lr": 1.0e-3}
    env = {"env": "desk/Orders-v0", "env_args": {}, "policy": str(nano_dir), "search": None, "pairs": ["spin"]}
    (made,) = carry_out(tmp_path, **env, sft=sft, rounds=1)["rounds"]
    assert (made["successes"], made["pairs"]) == (3, 6)
    folder = tmp_path / "round-1"
    assert json.loads((folder / "policy/training.json").read_text())["reference"] == str(nano_dir)
    trained = json.loads((folder / "trained.json").read_text())
    assert trained["sft"]["steps"] == 2
    assert trained["preference"]["kl"] > 0  # it began where the successes had led
    assert weights_version(folder / "sft") != weights_version(folder / "policy")


def test_a_warm_up_may_begin_with_easier_tasks(tmp_path: Path) -> None:
    warmup = TINY["warmup"] | {"easier": [{"env_args": {"level": "hard"}, "tasks": 5}]}
    carry_out(tmp_path, warmup=warmup, rounds=1)
    with Store(tmp_path / "warmup") as store:
        levels = [e.env_args["level"] for e in store.episodes()]
    assert levels == ["hard"] * 5 + ["easy"] * 12


RUN = """
import sys
from pathlib import Path
from agentgym_training.cli_loop import loop
loop(sys.argv[1], Path(sys.argv[2]), 0, True)
"""


def test_a_loop_that_is_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"rounds": 1}))
    whole = Loop(load_recipe(str(recipe)), tmp_path / "whole", 0, Output(True)).run()
    chance = random.Random(3)

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", RUN, str(recipe), str(tmp_path / "killed")]
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
    assert ended["rounds"] == whole["rounds"]
    assert ended["success"] == whole["success"]
    rows = "round-1/policy/training.json"
    assert (tmp_path / "killed" / rows).read_text() == (tmp_path / "whole" / rows).read_text()
    with Store(tmp_path / "killed/round-1") as one, Store(tmp_path / "whole/round-1") as other:
        assert sorted(map(told, one.pairs(PAIRS))) == sorted(map(told, other.pairs(PAIRS)))


def told(pair: Any) -> tuple[Any, ...]:
    return (*pair.task, pair.chosen.token_ids or [], pair.rejected.token_ids or [], pair.first, pair.margin, pair.method)


@pytest.mark.parametrize("name", sorted(f.name.removesuffix(".yaml") for f in SHIPPED.iterdir() if f.name.endswith(".yaml")))
def test_the_shipped_recipes_can_be_read(name: str) -> None:
    recipe = load_recipe(name)
    assert len((SHIPPED / f"{name}.yaml").read_text().splitlines()) < 40
    Loop(recipe, Path("nowhere"), 0, Output(True))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rounds": 0}, "rounds: Input should be greater than or equal to 1"),
        ({"epochs": 1}, "epochs: Extra inputs are not permitted"),
        ({"search": {"name": "mcts", "depth": 3}}, "search.depth: Extra inputs"),
        ({"preference": {"loss": "dpoo"}}, "no preference loss 'dpoo'"),
        ({"preference": None}, "give preference or sft, or both"),
        ({"pairs": ["distinct"]}, "nothing makes pairs"),
        ({"pairs": ["step:theta=x"]}, "selector 'step', option 'theta'"),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(TINY | changes))
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_recipe_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no recipe 'alpha-go': give a YAML file, or one of agent-q"):
        load_recipe("alpha-go")
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(UserError, match="is no YAML"):
        load_recipe(str(tmp_path / "x.yaml"))
