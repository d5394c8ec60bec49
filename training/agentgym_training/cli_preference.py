"""The command `train preference`."""

from typing import Annotated

import typer

from agentgym import UserError
from agentgym.cli.output import JsonOption, Output
from agentgym_trajectories.cli import RunArgument, SeedOption
from agentgym_trajectories.store import Store

from .cli_options import (
    BatchSizeOption,
    EpochsOption,
    LoraRankOption,
    LrOption,
    MaxLengthOption,
    MaxStepsOption,
    ModelOption,
    OutOption,
    ResumeOption,
    RoleOption,
    SaveStepsOption,
    TrackOption,
    conclude,
    configure,
)

PairsOption = Annotated[
    str | None,
    typer.Option("--pairs", help="What the pairs are called in the run; without it KTO takes trajectories as they are."),
]
LossOption = Annotated[str, typer.Option("--loss", help="dpo, ipo, hinge, kto, simpo, orpo, cpo, asft or tpo.")]
BetaOption = Annotated[float | None, typer.Option("--beta", min=1e-12, help="Of the loss; default: a usual one for it.")]
GammaOption = Annotated[float | None, typer.Option("--gamma", min=0.0, help="SimPO's margin; default: 1.")]
SftWeightOption = Annotated[
    float | None,
    typer.Option("--sft-weight", min=0.0, help="Of a term that keeps the chosen side likely; default: the method's."),
]
ReferenceOption = Annotated[str, typer.Option("--reference", help="initial, logged (while acting) or a model directory.")]
FromDivergenceOption = Annotated[
    bool, typer.Option("--from-divergence", help="Count tokens only from the first on in which the sides differ.")
]


def preference(
    given: typer.Context,
    run: RunArgument,
    model: ModelOption,
    out: OutOption,
    pairs: PairsOption = None,
    role: RoleOption = None,
    loss: LossOption = "dpo",
    beta: BetaOption = None,
    gamma: GammaOption = None,
    sft_weight: SftWeightOption = None,
    reference: ReferenceOption = "initial",
    from_divergence: FromDivergenceOption = False,
    epochs: EpochsOption = 1.0,
    max_steps: MaxStepsOption = None,
    batch_size: BatchSizeOption = 16,
    lr: LrOption = 1e-6,
    lora_rank: LoraRankOption = 0,
    max_length: MaxLengthOption = None,
    save_steps: SaveStepsOption = None,
    resume: ResumeOption = False,
    track: TrackOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train a model on preference pairs: what was better becomes likelier than what was worse.

    KTO also learns from successes and failures that nobody paired: leave --pairs away.

    Example: agentgym train preference runs/search --pairs default --model runs/policy --out runs/better --reference logged
    """
    output = Output(json)
    from agentgym.sampling.transformers import load_tokenizer

    from .preference import Preference, train_preference
    from .rows import pair_rows, unpaired_rows

    if pairs is None and loss != "kto":
        raise UserError(f"{loss} compares two sides of a task: give --pairs (agentgym pairs makes them), or --loss kto")
    config = configure(Preference, given.params)
    tokenizer = load_tokenizer(model)
    with Store(run) as store:
        if pairs is None:
            rows = unpaired_rows(store.trajectories(), tokenizer, max_length, seed, role)
        else:
            rows = pair_rows(store.pairs(pairs), tokenizer, max_length, role)
    output.say(f"Training {model} on {len(rows)} pairs of {run} into {out}.")
    done = train_preference(model, rows, out, config, resume=resume)
    conclude(output, out, done, {"pairs": len(rows)}, f", chosen side ahead in {done['accuracy']:.1%}")
