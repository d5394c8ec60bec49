"""The command `report`."""

from pathlib import Path
from typing import Annotated

import typer

from agentgym.cli.output import JsonOption, Output


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Directories of loops, trainings, evaluations, collections.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The page; the tables go beside it as Markdown.")] = Path("report.html"),
    json: JsonOption = False,
) -> None:
    """Write a report of one or several runs: success with intervals, cost, mistakes, curves, samples, side by side.

    Example: agentgym report runs/agent-q runs/rft --out report.html
    """
    output = Output(json)
    from .report.page import page
    from .report.runs import read
    from .report.tables import comparison, markdown

    told = [read(run) for run in runs]
    table = out.with_suffix(".md")
    for file, text in ((out, page(told)), (table, markdown(told))):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_text(text, "utf-8")
        part.replace(file)
    titles, rows = comparison(told)
    shown = [titles.index(name) for name in ("run", "success", "95 % interval", "sampled tokens", "time")]
    output.table([titles[i] for i in shown], [[row[i] for i in shown] for row in rows])
    output.say(f"Page: {out}. Tables: {table}.")
    finals = [
        {
            "run": str(path),
            "kind": run.kind,
            "success": run.final and run.final.success,
            "tokens": run.tokens,
            "seconds": run.seconds,
        }
        for path, run in zip(runs, told, strict=True)
    ]
    output.result({"page": str(out), "tables": str(table), "runs": finals})
