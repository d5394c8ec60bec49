"""What the training commands share: their options, what is made of them, and how they end."""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from agentgym import UserError
from agentgym.cli.output import Output

T = TypeVar("T", bound=BaseModel)

# As in `agentgym_training.objectives`, which imports torch.
OBJECTIVE_NAMES = (
    "agenttuning, agentrefine, tl-training, leti, faft, c-rlft, rise, response-tuning, masked-thought, neftune, poft, ift, "
    "step-by-step, mftcoder, promptintern, easy-to-hard, promot, hft, gmt, single-pass"
)

OutOption = Annotated[Path, typer.Option("--out", help="Directory for the result.")]
ModelOption = Annotated[Path, typer.Option("--model", help="Hugging Face model directory to begin with.")]
RoleOption = Annotated[
    str | None, typer.Option("--role", help="Train only on what this role said (see `agentgym collect --program`).")
]
EpochsOption = Annotated[float, typer.Option("--epochs", min=0.001, help="How often each row is seen.")]
MaxStepsOption = Annotated[int | None, typer.Option("--max-steps", min=1, help="Steps, instead of --epochs.")]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", min=1, help="Rows, or pairs, in a step.")]
LrOption = Annotated[float, typer.Option("--lr", min=1e-12, help="Peak learning rate.")]
ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--objective", metavar="NAME[:KEY=VALUE,...]", help=f"What is learnt, and how; several in their order: {OBJECTIVE_NAMES}."
    ),
]
LoraRankOption = Annotated[int, typer.Option("--lora-rank", min=0, help="Of LoRA adapters; 0 trains all weights.")]
MaxLengthOption = Annotated[int | None, typer.Option("--max-length", min=1, help="Leave longer rows out.")]
SaveStepsOption = Annotated[int | None, typer.Option("--save-steps", min=1, help="Steps between checkpoints.")]
TrackOption = Annotated[str | None, typer.Option("--track", help="Tell tensorboard, wandb, mlflow or trackio too.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]


def refuse_existing(out: Path) -> None:
    """Raise a `UserError` if there is something at `out`, or nothing can be written there: before any work, not after it."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists already: choose another --out, or remove it")
    absent = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out, or mend that") from error
    finally:
        for folder in absent:  # what is refused later leaves nothing behind
            with suppress(OSError):
                folder.rmdir()


def configure(kind: type[T], given: Mapping[str, Any]) -> T:
    """The configuration that a command's parameters make; where it does not resume, nothing may be at ``out``.

    Args:
        kind: The configuration's class. Parameters that are called as its fields are their values; ``lora_rank`` makes adapters.
        given: All parameters by name, as `typer.Context.params` has them.

    Raises:
        UserError: there is something, or no configuration has such values.
    """
    if not given["resume"]:
        refuse_existing(Path(given["out"]))
    rank = given["lora_rank"]
    lora = {"rank": rank, "alpha": 2 * rank} if rank else None
    return kind.model_validate({name: given[name] for name in kind.model_fields if name in given} | {"lora": lora})


def conclude(
    output: Output,
    out: Path,
    done: Mapping[str, float],
    count: Mapping[str, int],
    also: str = "",
    then: str = "agentgym eval --env ENV --policy {}",
) -> None:
    """Tell what came of a training.

    Args:
        output: Where.
        out: The directory of the model.
        done: What the training measured.
        count: What it was on, for programs.
        also: What else people are told, after the loss.
        then: The command to go on with, `out` standing in it as ``{}``.
    """
    speed = f", {done['tokens_per_second']:,.0f} tokens/s" if done["tokens_per_second"] >= 1 else ""
    output.say(f"{done['steps']:.0f} steps{speed}, loss {done['loss']:.4f}{also}: {out}")
    output.next_steps(then.format(out))
    output.result({"model": str(out), **count, **done})
