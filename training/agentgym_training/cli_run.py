"""The commands `run`, `loop` and `recipe`."""

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from agentgym import UserError
from agentgym.cli.output import JsonOption, Output

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped name (`agentgym recipe list`) or a YAML file.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for everything; give it again to resume.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Of everything, instead of the recipe's.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="ADDRESS=VALUE", help="Change a value: sft.lr=1e-4, env_args.level=hard; repeatable."),
]

recipe = typer.Typer(
    help="Recipes: what is shipped, and what they may say.\n\nExample: agentgym recipe show agent-q", no_args_is_help=True
)


def run(
    recipe: RecipeArgument, out: OutOption, seed: SeedOption = None, changes: SetOption = None, json: JsonOption = False
) -> None:
    """Carry out a recipe, stage by stage; run it again to resume.

    Example: agentgym run alignment --out runs/alignment --set rl.updates=10
    """
    output = Output(json)
    done = _carry_out(recipe, out, seed, changes, output)
    measured = [
        (stage, policy, f"{e['success']:.1%}", f"{e['low']:.1%} to {e['high']:.1%}")
        for stage, result in done["stages"].items()
        for policy, e in result.get("policies", {}).items()
    ]
    if measured:
        output.table(("stage", "policy", "held-out success", "95 % interval"), measured)
    output.next_steps(f"agentgym report {out}", f"agentgym view {out}")
    output.result({"out": str(out), **done})


def loop(
    recipe: RecipeArgument, out: OutOption, seed: SeedOption = None, json: JsonOption = False, changes: SetOption = None
) -> None:
    """Train in rounds: collect, find deficient tasks, search, pair, train, evaluate; run it again to resume.

    It is `agentgym run` for recipes with rounds, and tells of these alone.

    Example: agentgym loop agent-q --out runs/agent-q
    """
    output = Output(json)
    done = _carry_out(recipe, out, seed, changes, output, rounds=True)
    rounds, tested = done["stages"]["rounds"], done["stages"]["eval"]["policies"]
    success = {"start": tested["first"]["success"], "best": tested["policy"]["success"]}
    rows = [
        (str(i), f"{r['success']:.1%}", f"{r['sampled_tokens']:,}", f"{r['successes']:,}", f"{r['pairs']:,}")
        for i, r in enumerate(rounds["rounds"], 1)
    ]
    columns = ("round", "validation success", "sampled tokens", "own successes", "pairs")
    output.table(columns, [("0", f"{rounds['start']:.1%}", "", "", ""), *rows])
    output.say(f"Held-out success {success['start']:.1%} before, {success['best']:.1%} after round {rounds['best']}.")
    output.say(f"Policy: {done['policy']}")
    told = {key: rounds[key] for key in ("rounds", "start", "best")}
    output.result(told | {"success": success, "policy": done["policy"]})


def _carry_out(
    name: str, out: Path, seed: int | None, changes: list[str] | None, output: Output, rounds: bool = False
) -> dict[str, Any]:
    """Load a recipe and run it; with `rounds` it has to be one that `loop` can tell of."""
    from .recipe import load_recipe  # torch is imported when a command runs, not when help is shown
    from .run import run_recipe

    loaded = load_recipe(name, changes or (), seed)
    if rounds:
        stages = {stage.name: stage for stage in loaded.stages}
        judged = getattr(stages.get("eval"), "policies", ())
        if "rounds" not in stages or not {"first", "policy"} <= set(judged):
            need = "a stage `rounds`, and a stage `eval` of the policies first and policy"
            raise UserError(f"recipe {name} is no loop, which has {need}: use `agentgym run {name}`")
    return run_recipe(loaded, out, output)


@recipe.command("list")
def list_recipes(json: JsonOption = False) -> None:
    """List the shipped recipes.

    Example: agentgym recipe list
    """
    output = Output(json)
    from .recipe import about, shipped

    told = {name: about(text) for name, text in shipped().items()}
    output.table(("recipe", ""), list(told.items()))
    output.next_steps("agentgym recipe show agent-q", "agentgym run agent-q --out runs/agent-q")
    output.result(told)


@recipe.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped name or a YAML file.")],
    changes: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Print a recipe as it is written; with --json as it is read, with all defaults.

    Example: agentgym recipe show agent-q
    """
    output = Output(json)
    from .recipe import load_recipe, text_of

    found = load_recipe(name, changes or ())
    output.say(text_of(name))
    output.result(found.model_dump(mode="json"))


@recipe.command("schema")
def schema() -> None:
    """Print the JSON schema of recipes, for editors.

    Example: agentgym recipe schema > recipe.schema.json
    """
    from .recipe import schema as made

    typer.echo(jsonlib.dumps(made(), indent=2))
