"""Recipes: read strictly, changed on the command line, and each shipped one carried out at tiny size, interrupted and gone on with."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from typer.testing import CliRunner

from agentgym import Failure, UserError
from agentgym.cli.output import Output
from agentgym_training import cli_run, preference
from agentgym_training.recipe import Recipe, load_recipe, schema, shipped
from agentgym_training.rl import loop
from agentgym_training.run import PROVENANCE, RECIPE, commit, run_recipe
from agentgym_training.stages import Es, Preference, Reward, Rl, Rounds, Sft, Stage, base, data
from agentgym_trajectories.rollout import Progress
from agentgym_trajectories.store import Store
from tests.training.tiny import tiny

NAMES = list(shipped())


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_recipes_are_short_and_say_whose_they_are(name: str) -> None:
    lines = shipped()[name].splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) < 40
    assert all(len(line) <= 130 for line in lines)
    jsonschema.validate(yaml.safe_load(shipped()[name]), schema())


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_recipes_run_and_go_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stage is broken off when all is done but its last file: what is there already must not be in its way."""
    recipe, written, broken = load_recipe(name, tiny(name)), base.write_json, list[str]()
    stages = {stage.name: stage for stage in recipe.stages}
    inner = [s for stage in stages.values() if isinstance(stage, Rounds) for s in stage.stages]
    todo = [*(s.name for s in inner), *stages]
    chosen = f"{todo[NAMES.index(name) % len(todo)]}.json"  # over all recipes, each kind of stage

    def breaking(file: Path, value: Any) -> None:
        if file.name == chosen and not broken:
            broken.append(file.name)
            raise Failure("broken off")
        written(file, value)

    monkeypatch.setattr(base, "write_json", breaking)
    for module, drawn in ((preference, "preference_curves"), (loop, "rl_curves")):
        monkeypatch.setattr(module, drawn, lambda *_: None)  # pictures take longer than all the rest
    with pytest.raises(Failure, match="broken off"):
        run_recipe(recipe, tmp_path, Output(True))
    done = run_recipe(recipe, tmp_path, Output(True))
    assert list(done["stages"]) == list(stages)
    for stage in [*stages.values(), *inner]:
        folder = tmp_path if stage in stages.values() else tmp_path / "round-1"
        found = json.loads((folder / f"{stage.name}.json").read_text())
        assert "skipped" not in found, stage.name
        if isinstance(stage, Sft | Preference | Reward | Rl | Es):
            assert (folder / stage.name / "config.json").is_file() or (folder / stage.name / "adapter_config.json").is_file()
    assert run_recipe(recipe, tmp_path, Output(True)) == done  # all of it is done already


RUN = """
import os, signal, sys, time
from pathlib import Path
from agentgym.cli.output import Output
from agentgym_training.recipe import load_recipe
from agentgym_training.run import run_recipe
from tests.training.tiny import tiny

out, *recipes = sys.argv[1:]

def seconds(pid):
    used = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")

def killed(name, kill):
    pid = os.fork()
    if pid == 0:
        run_recipe(load_recipe(name, tiny(name)), Path(out, name), Output(True))
        os._exit(0)
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if seconds(pid) > kill:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])

for recipe in recipes:
    name, *kills = recipe.split(",")
    codes = [killed(name, kill) for kill in (*map(float, kills), float("inf"))]
    assert codes[-1] == 0 and {0, -signal.SIGKILL}.issuperset(codes), (recipe, codes)
"""
UNLIKE = {"seconds", "tokens_per_second", "tokenizer_seconds", "warmup_seconds", "tokens"}  # `tokens`: those of the last attempt


def run_killed(out: Path, kills: dict[str, list[float]]) -> None:
    """Carry recipes out, each killed by SIGKILL whenever its process has worked for so many seconds."""
    recipes = [",".join([name, *map(str, seconds)]) for name, seconds in kills.items()]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(out), *recipes], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["alignment", "es"])
def test_a_recipe_that_is_killed_ends_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    kills = [random.uniform(0.1, 2.5) for _ in range(4)]
    run_killed(tmp_path, {name: kills})
    whole = run_recipe(load_recipe(name, tiny(name)), tmp_path / "whole", Output(True))
    ended = {f.stem: json.loads(f.read_text()) for f in (tmp_path / name).glob("*.json") if f.stem != "start"}
    assert _measured(ended) == _measured(whole["stages"]), kills
    assert len((tmp_path / name / PROVENANCE).read_text().splitlines()) >= 2


@pytest.mark.parametrize("names", [NAMES[i::4] for i in range(4)], ids=lambda names: names[0])
def test_every_shipped_recipe_goes_on_after_a_kill(names: list[str], tmp_path: Path) -> None:
    run_killed(tmp_path, {name: [random.uniform(0.2, 2.0)] for name in names})
    for name in names:
        recipe = load_recipe(name, tiny(name))
        assert all((tmp_path / name / f"{stage.name}.json").is_file() for stage in recipe.stages), name


def _measured(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _measured(value) for key, value in found.items() if key not in UNLIKE}
    if isinstance(found, list):
        return [_measured(value) for value in found]
    return pytest.approx(found, rel=1e-3, abs=1e-5) if isinstance(found, float) else found


# ---- reading -----------------------------------------------------------------------------------------------------------


GOOD = """\
env: desk/Orders-v0
stages:
  - stage: warmup
    tasks: 10
  - stage: rounds
    stages:
      - {stage: collect, tasks: 5, search: {name: mcts}}
      - {stage: pairs}
      - stage: preference
        lr: 1e-5
  - stage: eval
"""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("tasks: 10", "tasks: 0", "line 4, warmup.tasks: Input should be greater than or equal to 1, not 0"),
        ("tasks: 10", "task: 10", "line 4, warmup.task: there is no such key; did you mean tasks? (it has stage, name,"),
        ("env: desk", "evn: desk", "line 1, evn: there is no such key; did you mean env? (it has env, env_args, policy,"),
        ("env: desk/Orders-v0", "env: desk/Orders-v0\nenv_args: null", "line 2, env_args: Input should be a mapping, not null"),
        ("stage: eval", "stage: eval\n    policies: null", "line 12, eval.policies: Input should be a list, not null"),
        ("stage: eval", "stage: evil", "line 11, evil: there is no stage 'evil': give `stage:` one of init, warmup"),
        ("  - stage: eval", "  - tasks: 3", "line 11, stages.2: a stage says which it is: give `stage:` one of"),
        ("lr: 1e-5", "lr: fast", "line 10, rounds.preference.lr: Input should be a valid number"),
        ("lr: 1e-5", "loss: dpoo", "line 10, rounds.preference.loss: no preference loss 'dpoo': choose from dpo, ipo"),
        ("lr: 1e-5", "lora: {rnk: 3}", "line 10, rounds.preference.lora.rnk: there is no such key; did you mean rank?"),
        ("lr: 1e-5", "pairs: null", "line 9, rounds.preference: dpo compares two sides of a task"),
        ("lr: 1e-5", "name: pairs", "line 6, rounds.stages: two stages are called 'pairs': give another name"),
        ("lr: 1e-5", "name: first", "line 6, rounds.stages: no stage may be called 'first'"),
        ("lr: 1e-5", "lr: 1\n        lr: 2", "line 11: 'lr' stands there a second time, first in line 10"),
        ("{name: mcts}", "{name: mct}", "line 7, rounds.collect.search.name: there is no search 'mct'"),
        ("{stage: pairs}", "{stage: pairs, by: [distinct]}", "line 8, rounds.pairs.by: nothing makes pairs"),
        ("{stage: pairs}", "{stage: select, by: [rewrd]}", "line 8, rounds.select.by: there is no selector 'rewrd'"),
        ("{stage: pairs}", "{stage: sft, objectives: [x]}", "line 8, rounds.sft.objectives: there is no objective 'x'"),
        ("{stage: pairs}", "{stage: collect, program: x}", "line 8, rounds.collect-2.program: there is no program 'x'"),
        (
            "{stage: pairs}",
            "{stage: collect, hindsight: rules, search: {}}",
            "line 8, rounds.collect-2: hindsight explores by itself",
        ),
        ("{stage: pairs}", "{stage: rounds, stages: []}", "line 8, rounds.rounds: there is no stage 'rounds'"),
        ("{stage: pairs}", "{stage: rl, method: x}", "line 8, rounds.rl.method: no method 'x'"),
        ("{stage: pairs}", "{stage: rl, method: tree, stages: [{turns: 3}]}", "line 8, rounds.rl: method 'tree' grows trees"),
        ("{stage: pairs}", "7", "line 6, rounds.stages.1: Input should be a mapping or object"),
        ("env: desk/Orders-v0", "env: [", "this is no YAML"),
    ],
)
def test_what_is_wrong_is_told_with_key_and_line(old: str, new: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_recipe(str(tmp_path / "x.yaml"))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


WARM = "  - stage: warmup\n    tasks: 10\n"
MORE = "{stage: pairs}\n      - "


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "stage: eval",
            "stage: eval\n    policies: [sft]",
            "line 12, eval.policies: there is no policy 'sft' by then: name one of first, policy, rounds, warmup, or a model",
        ),
        ("stage: eval", "stage: eval\n    policies: [previous]", "line 12, eval.policies: there is no policy 'previous' by then"),
        (WARM, "", "line 4, rounds.stages: there is no policy yet: begin with a stage `warmup`, or give the recipe a `policy`"),
        (WARM, "  - stage: sft\n", "line 3, sft.model: there is no policy yet"),
        (
            "{stage: pairs}",
            "{stage: pairs, name: few}",
            "line 9, rounds.preference.pairs: no stage `pairs` before it, of the same store, is called 'pairs': there is few",
        ),
        ("{stage: pairs}", "{stage: pairs, store: other}", "is called 'pairs': there is none"),
        ("{stage: pairs}", MORE + "{stage: sft, selection: best}", "line 9, rounds.sft.selection: no stage `select` before it"),
        ("{stage: pairs}", MORE + "{stage: sft, model: sft}", "line 9, rounds.sft.model: there is no policy 'sft' by then"),
        ("lr: 1e-5", "reference: frist", "line 10, rounds.preference.reference: there is no policy 'frist' by then"),
        ("{stage: pairs}", MORE + "{stage: select, by: ['grape:model={judge}']}", "rounds.select.by: there is no policy 'judge'"),
        ("{stage: pairs}", MORE + "{stage: rl, rewards: ['model:{reward}']}", "rounds.rl.rewards: there is no policy 'reward'"),
        ("{stage: pairs}", MORE + "{stage: collect, policy: 'one/{sft}'}", "rounds.collect-2.policy: there is no policy"),
    ],
)
def test_what_no_stage_makes_is_missed_before_anything_begins(old: str, new: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_recipe(str(tmp_path / "x.yaml"))
    assert text in str(caught.value)


def test_an_environment_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    for change, text in (
        ("env=desk/Odrers-v0", "there is no environment 'desk/Odrers-v0'"),
        ("env_args.level=huge", "huge"),
        ("warmup.easier=[{env_args: {lvl: easy}}]", "does not take these arguments"),
        ("rounds.collect.env=games/KeyDor-v0", "there is no environment 'games/KeyDor-v0'"),
    ):
        with pytest.raises(UserError, match=text):
            run_recipe(load_recipe("agent-q", [change]), tmp_path / "x", Output(True))
        assert not (tmp_path / "x").exists()


def test_another_recipe_in_the_same_folder_is_told_by_what_differs(tmp_path: Path) -> None:
    def run(*changes: str) -> None:
        recipe = "stages=[{stage: collect, policy: oracle, tasks: 2, samples: 1}, {stage: select}]"
        run_recipe(load_recipe("rft", [recipe, *changes]), tmp_path, Output(True))

    run()
    run()
    for changes, text in (
        (["collect.tasks=3"], "seed: collect.tasks was 2 and is 3; give"),
        (["collect.tasks=3", "select.by=[errors]", "start=2", "max_tokens=3"], "(and 1 more); give"),
        (["select=null"], "seed: select was there and is not; give"),
        (["select.name=chosen"], "seed: select was there and is not, chosen was not there; give"),
    ):
        with pytest.raises(UserError) as caught:
            run(*changes)
        assert text in str(caught.value)
        assert len(str(caught.value)) < 400


def test_stages_say_what_came_of_them_and_errors_say_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect = "{stage: collect, policy: random, tasks: 2, samples: 1}"
    stages = f"stages=[{{stage: collect, policy: oracle, tasks: 3, samples: 1}}, {{stage: init, copy_steps: 2}}, {collect}, "
    recipe = load_recipe("rft", [stages + "{stage: select, by: ['length:turns=0']}, {stage: sft, selection: select}]"])
    with pytest.raises(UserError, match=r"^sft: there are no rows to train on"):
        run_recipe(recipe, tmp_path, Output(False))
    told = capsys.readouterr().out
    assert "success 100.0% of 3 tasks, 0 tokens." in told
    assert "0 kept of 5." in told


def test_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"there is no recipe 'agentq': give a YAML file, or one of agent-q.*did you mean agent-q\?"
    ):
        load_recipe("agentq")
    (tmp_path / "x.yaml").write_text("- a")
    with pytest.raises(UserError, match="this is no mapping of keys to values"):
        load_recipe(str(tmp_path / "x.yaml"))


def test_values_are_set_by_the_names_of_stages() -> None:
    changes = ["env_args.level=easy", "rounds.sft.lr=1e-4", "rounds.0.search.width=3", "rounds.preference=null", "eval.name=test"]
    recipe = load_recipe("agent-q", changes, seed=7)
    collect, _, sft = recipe.stages[1].stages
    assert (recipe.seed, recipe.env_args, sft.lr, collect.search.width) == (7, {"level": "easy"}, 1e-4, 3)
    assert (collect.search.simulations, recipe.stages[2].name) == (16, "test")
    assert load_recipe("agent-q", ["rounds.sft.lora.rank=4"]).stages[1].stages[2].lora.rank == 4
    assert load_recipe("agent-q", ["rounds.collect.search=null"]).stages[1].stages[0].search is None
    assert load_recipe("agenttuning", ["4.name=chosen", "sft.selection=chosen"]).stages[4].name == "chosen"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("trian.lr=1", "--set trian.lr=1: there is no 'trian', but warmup, rounds, eval, env,"),
        ("round.times=1", "there is no 'round', but warmup, rounds, eval, .*; did you mean rounds?"),
        ("rounds.stf.lr=1", "rounds has no 'stf', but collect, pairs, sft, preference, .*did you mean sft?"),
        ("rounds.sft.lrr=1", "--set rounds.sft.lrr=1, rounds.sft.lrr: there is no such key; did you mean lr?"),
        ("rounds.sft.lr=-1", "--set rounds.sft.lr=-1, rounds.sft.lr: Input should be greater than 0, not -1"),
        ("rounds.sft=4", "sft is a stage: set one of its keys"),
        ("rounds.sft.lr.x=4", "rounds.sft.lr has no parts to be set"),
        ("9.lr=4", "there is no '9'"),
        ("seed", "--set 'seed' sets nothing: write ADDRESS=VALUE"),
        ("a..b=3", "sets nothing"),
        ("seed={", "this is no YAML"),
    ],
)
def test_a_wrong_address_says_what_there_is(change: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("agent-q", [change])
    wanted = text.split(".*")
    assert all(part in str(caught.value) for part in wanted), str(caught.value)


def test_the_schema_knows_what_the_reader_knows(tmp_path: Path) -> None:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["$defs"]["Sft"]["properties"]["lr"]["description"] == "Peak learning rate."
    assert made["properties"]["env"]["description"] == "Id of the environment."
    jsonschema.validate(yaml.safe_load(GOOD.replace("1e-5", "1.0e-5")), made)
    for wrong in ({"tasks": 10}, {"stage": "collect", "task": 3}, {"stage": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"env": "desk/Orders-v0", "stages": [wrong]}, made)


# ---- running -----------------------------------------------------------------------------------------------------------


class Told(Stage):
    """Says what it sees."""

    stage: str = "told"

    def run(self, context: base.Context) -> dict[str, Any]:
        return {"task": context.task, "policy": str(context.policies.get("policy", "")), "tasks": 5, "found": {self.name: 1}}


def scripted(*names: str, **given: Any) -> Recipe:
    return Recipe.model_construct(**{"env": "desk/Orders-v0", **given}, stages=tuple(Told(name=n) for n in names))


def test_a_run_keeps_what_made_it(tmp_path: Path) -> None:
    recipe = load_recipe("rft", ["start=3", "stages=[{stage: collect, tasks: 2, policy: oracle}]"], 5)
    run_recipe(recipe, tmp_path / "a", Output(True))
    kept = tmp_path / "a" / RECIPE
    assert load_recipe(str(kept)) == recipe
    assert yaml.safe_load(kept.read_text())["seed"] == 5
    run_recipe(recipe, tmp_path / "a", Output(True))
    lines = [json.loads(line) for line in (tmp_path / "a" / PROVENANCE).read_text().splitlines()]
    assert len(lines) == 2
    assert {"python", "torch", "trl"} <= lines[0]["versions"].keys()
    assert lines[0]["machine"]["cores"] >= 1
    assert lines[0]["commit"] is None or len(lines[0]["commit"].removesuffix("+changes")) == 40
    with Store(tmp_path / "a") as store:
        assert {e.task.id for e in store.episodes()} == {"train-5000003", "train-5000004"}
    with pytest.raises(UserError, match=r"was made with another recipe or seed: seed was 5 and is 6"):
        run_recipe(load_recipe(str(kept), seed=6), tmp_path / "a", Output(True))


def test_the_commit_of_a_folder(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x", *command], check=True)
    assert len(commit(tmp_path) or "") == 40
    (tmp_path / "a").write_text("1")
    subprocess.run(["git", "-C", tmp_path, "add", "a"], check=True)
    assert (commit(tmp_path) or "").endswith("+changes")


def test_stages_go_on_where_others_ended_and_folders_can_be_moved(tmp_path: Path) -> None:
    recipe = scripted("a", "b")
    context = base.Context(recipe, tmp_path / "x", tmp_path / "x", Output(True))
    (tmp_path / "x").mkdir()
    assert [context.do(stage)["task"] for stage in recipe.stages] == [0, 5]
    assert (context.task, context.found) == (10, {"a": 1, "b": 1})
    context.adopt(tmp_path / "x/policy")
    assert context.kept(context.policy()) == "policy"
    assert context.kept(Path("elsewhere")) == str(Path("elsewhere").resolve())
    assert context.fill(["model:{policy}", "{run}/a"]) == [f"model:{tmp_path}/x/policy", f"{tmp_path}/x/a"]
    with pytest.raises(
        UserError, match=r"there is no directory 'judge' for \['model:\{judge\}'\]: there are a, policy, first, b, run"
    ):
        context.fill(["model:{judge}"])
    with pytest.raises(UserError, match="there is no policy 'x': name one of a, policy, first, b"):
        context.policy("x")
    context.policies.clear()
    with pytest.raises(UserError, match="there is no policy yet: begin with a stage `warmup`"):
        context.policy()


def test_a_reward_model_of_attributes(tmp_path: Path, nano_dir: Path) -> None:
    stages = [
        {"stage": "collect", "policy": str(nano_dir), "tasks": 2, "samples": 2, "demonstrations": True},
        {"stage": "reward", "attributes": {"solved": 1.0}, "max_steps": 2, "batch_size": 2},
    ]
    given = {"env": "desk/Orders-v0", "policy": str(nano_dir), "max_tokens": 8, "stages": stages}
    done = run_recipe(Recipe.model_validate(given), tmp_path, Output(True))
    assert done["stages"]["reward"]["model"] == "reward"
    assert done["policy"] == str(nano_dir)  # a judge is no policy
    assert json.loads((tmp_path / "reward/attributes.json").read_text()) == {"solved": 1.0}


def test_a_base_needs_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="init learns words from episodes that succeeded, and there are none"):
        run_recipe(Recipe.model_validate({"env": "desk/Orders-v0", "stages": [{"stage": "init"}]}), tmp_path, Output(True))


def test_a_collection_that_is_interrupted_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "play_all", lambda *_: Progress(interrupted=True))
    recipe = Recipe.model_validate(
        {"env": "desk/Orders-v0", "stages": [{"stage": "collect", "policy": "oracle", "tasks": 2, "samples": 1}]}
    )
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path, Output(True))
    assert not (tmp_path / "collect.json").exists()


# ---- commands ----------------------------------------------------------------------------------------------------------


def call(*arguments: Any) -> Any:
    app = typer.Typer()
    app.command("run")(cli_run.run)
    app.command("loop")(cli_run.loop)
    app.add_typer(cli_run.recipe, name="recipe")
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_the_commands(tmp_path: Path) -> None:
    done = call("recipe", "list", "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kto"].startswith("KTO (Ethayarajh")
    assert told["es"].endswith("of adapters, for a policy that knows a little.")  # whole sentences
    assert "stage: rounds" in call("recipe", "show", "agent-q").stdout
    shown = json.loads(call("recipe", "show", "agent-q", "--set", "seed=4", "--json").stdout.splitlines()[-1])
    assert (shown["seed"], shown["stages"][1]["patience"]) == (4, 2)
    assert json.loads(call("recipe", "schema").stdout) == json.loads(json.dumps(schema()))
    refused = call("loop", "grpo", "--out", tmp_path)
    assert "recipe grpo is no loop, which has a stage `rounds`" in str(refused.exception)
    (tmp_path / "x.yaml").write_text("env: desk/Orders-v0\nstages: [{stage: collect, policy: oracle, tasks: 2, samples: 1}]")
    done = call("run", tmp_path / "x.yaml", "--out", tmp_path / "out", "--set", "collect.tasks=3", "--seed", 1, "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["stages"]["collect"] == {"sampled_tokens": 0, "success": 1.0, "tasks": 3}
    assert f"agentgym report {tmp_path / 'out'}" in done.stderr
