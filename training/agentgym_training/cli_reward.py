"""The command `train reward`."""

from typing import Annotated

import typer

from agentgym import UserError
from agentgym.cli.output import JsonOption, Output
from agentgym_trajectories.cli import RunArgument, SeedOption, SelectionOption
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
    SaveStepsOption,
    TrackOption,
    conclude,
    configure,
)

NEXT = "agentgym train rl --env ENV --model MODEL --out OUT --reward environment --reward model:{}"
PairsOption = Annotated[str | None, typer.Option("--pairs", help="What the pairs are called in the run.")]
AttributeOption = Annotated[
    list[str] | None,
    typer.Option("--attribute", metavar="NAME[=WEIGHT]", help="Instead of pairs: a part of the rubric to foretell."),
]


def reward(
    given: typer.Context,
    run: RunArgument,
    model: ModelOption,
    out: OutOption,
    pairs: PairsOption = None,
    attribute: AttributeOption = None,
    selection: SelectionOption = None,
    epochs: EpochsOption = 1.0,
    max_steps: MaxStepsOption = None,
    batch_size: BatchSizeOption = 16,
    lr: LrOption = 1e-5,
    lora_rank: LoraRankOption = 0,
    max_length: MaxLengthOption = None,
    save_steps: SaveStepsOption = None,
    resume: ResumeOption = False,
    track: TrackOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train a reward model: on pairs, or on several attributes whose weighted sum is the reward.

    Example: agentgym train reward runs/search --pairs default --model runs/policy --out runs/judge
    """
    output = Output(json)
    from agentgym.sampling.transformers import load_tokenizer

    from .reward_model import RewardModelling, rated_rows, train_attribute_model, train_reward_model
    from .rows import pair_rows

    if (pairs is None) == (not attribute):
        raise UserError(
            "a reward model learns from --pairs (agentgym pairs makes them) or from each --attribute: give one of both"
        )
    config = configure(RewardModelling, given.params)
    tokenizer, weights = load_tokenizer(model), dict(map(_weight, attribute or ()))
    with Store(run) as store:
        if pairs is not None:
            compared = pair_rows(store.pairs(pairs), tokenizer, max_length)
        else:
            rated = rated_rows(store.trajectories(selection), tokenizer, weights, max_length)
    if pairs is not None:
        output.say(f"Training a reward model on {len(compared)} pairs of {run} into {out}.")
        done = train_reward_model(model, compared, out, config, resume=resume)
        conclude(output, out, done, {"pairs": len(compared)}, f", chosen side ahead in {done['accuracy']:.1%}", NEXT)
    else:
        output.say(f"Training a reward model on {len(rated)} trajectories of {run} and {', '.join(weights)} into {out}.")
        done = train_attribute_model(model, rated, out, config, weights, resume=resume)
        conclude(output, out, done, {"rated": len(rated)}, then=NEXT)


def _weight(spec: str) -> tuple[str, float]:
    name, equals, weight = spec.partition("=")
    try:
        return name, float(weight) if equals else 1.0
    except ValueError as error:
        raise UserError(f"--attribute {spec!r} has a weight that is no number: write NAME or NAME=WEIGHT") from error
