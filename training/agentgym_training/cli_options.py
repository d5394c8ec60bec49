"""What the training commands share: their options, and that nothing is overwritten."""

from pathlib import Path
from typing import Annotated

import typer

from agentgym import UserError

OutOption = Annotated[Path, typer.Option("--out", help="Directory for the result.")]
ModelOption = Annotated[Path, typer.Option("--model", help="Hugging Face model directory to begin with.")]
EpochsOption = Annotated[float, typer.Option("--epochs", min=0.001, help="How often each row is seen.")]
MaxStepsOption = Annotated[int | None, typer.Option("--max-steps", min=1, help="Steps, instead of --epochs.")]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", min=1, help="Rows, or pairs, in a step.")]
LrOption = Annotated[float, typer.Option("--lr", min=1e-12, help="Peak learning rate.")]
LoraRankOption = Annotated[int, typer.Option("--lora-rank", min=0, help="Train LoRA adapters of this rank; 0: all weights.")]
MaxLengthOption = Annotated[int | None, typer.Option("--max-length", min=1, help="Leave longer rows out.")]
SaveStepsOption = Annotated[int | None, typer.Option("--save-steps", min=1, help="Steps between checkpoints.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]


def refuse_existing(out: Path) -> None:
    """Raise a `UserError` if there is something at `out`."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists already: choose another --out, or remove it")
