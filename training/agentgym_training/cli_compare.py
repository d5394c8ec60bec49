"""The command `compare`."""

from pathlib import Path
from typing import Annotated

import typer

from agentgym.cli.output import EnvArgOption, EnvOption, JsonOption, Output, parse_env_args
from agentgym_trajectories.cli import MaxTokensOption, RunArgument, SeedOption, TemperatureOption

from .cli_options import BatchSizeOption, LrOption, ModelOption


def compare(
    run: RunArgument,
    model: ModelOption,
    env: EnvOption,
    out: Annotated[Path, typer.Option("--out", help="Directory for models and results; give it again to go on.")],
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="NAME[:KEY=VALUE,...][+NAME...]", help="A selection; several."),
    ] = None,
    objectives: Annotated[
        list[str] | None, typer.Option("--objective", metavar="NAME[:KEY=VALUE,...]", help="An objective on everything.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Size of each selection; default: the smallest's.")] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Of each training.")] = 400,
    batch_size: BatchSizeOption = 16,
    lr: LrOption = 2e-5,
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="Held-out tasks.")] = 200,
    temperature: TemperatureOption = 0.0,
    max_tokens: MaxTokensOption = 256,
    seed: SeedOption = 0,
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Train the same model on each selection of equal size, and by each objective on everything: what is learnt, at what cost.

    Everything, and a random selection of equal size, are always among them.

    Example: agentgym compare runs/mixed --model runs/base --env desk/Orders-v0 --by errors --by grape:model=runs/base --out
    runs/cmp
    """
    output = Output(json)
    from dataclasses import asdict  # what follows imports torch: when a command runs, not when help is shown

    from .compare import Comparison, Variant
    from .sft import Sft

    sft = Sft(max_steps=steps, batch_size=batch_size, lr=lr, seed=seed)
    arguments = parse_env_args(env_arg)
    comparison = Comparison(run, model, env, arguments, sft, out, count, tasks, temperature, max_tokens)
    variants = [Variant(sized=False), Variant()]
    variants += [Variant(by=tuple(spec.split("+"))) for spec in by or ()]
    variants += [Variant(objectives=(spec,), sized=False) for spec in objectives or ()]
    results = comparison.carry_out(variants, output)
    columns = ("", "kept", "used", "held-out success", "95 % interval", "selecting", "ids scored", "training")
    shown = [
        (
            *(r.name, f"{r.kept:,}", f"{r.used:,}", f"{r.success:.1%}", f"{r.low:.1%} to {r.high:.1%}"),
            *(f"{r.select_seconds:.1f} s", f"{r.scored_tokens:,}", f"{r.train_seconds:.0f} s"),
        )
        for r in sorted(results, key=lambda r: -r.success)
    ]
    output.table(columns, shown)
    output.result({"results": [asdict(r) for r in results]})
