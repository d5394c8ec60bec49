"""The command `plan`."""

from typing import Annotated

import typer

from agentgym.cli.output import JsonOption, Output

from .budget import FINDINGS, Offer
from .budget import plan as split


def plan(
    examples: Annotated[int, typer.Option("--examples", min=0, help="Labelled demonstrations that can be had.")],
    pairs: Annotated[int, typer.Option("--pairs", min=0, help="Labelled preference pairs that can be had.")],
    example_price: Annotated[float, typer.Option("--example-price", min=1e-9, help="Of a demonstration.")] = 1.0,
    pair_price: Annotated[float, typer.Option("--pair-price", min=1e-9, help="Of a pair.")] = 1.0,
    budget: Annotated[float | None, typer.Option("--budget", min=0.0, help="Money; default: enough for everything.")] = None,
    json: JsonOption = False,
) -> None:
    """Say how published findings would split a budget of labels between SFT and preference tuning, with the sources.

    Example: agentgym plan --examples 8000 --example-price 2 --pairs 20000 --pair-price 0.5 --budget 6000
    """
    output = Output(json)
    found = split(Offer(examples, example_price, pairs, pair_price, budget))
    output.say(f"SFT on {found.examples:,} examples, then preference tuning on {found.pairs:,} pairs: {found.cost:,.2f} in all.")
    output.table(("finding", "source"), [FINDINGS[name] for name in found.findings])
    if found.examples < examples:
        output.next_steps("agentgym compare RUN --model BASE --env ENV --by SELECTOR --out runs/compare")
    output.result(
        {
            "examples": found.examples,
            "pairs": found.pairs,
            "cost": found.cost,
            "findings": [dict(zip(("says", "source"), FINDINGS[name], strict=True)) for name in found.findings],
        }
    )
