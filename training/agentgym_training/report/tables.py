"""The tables of a report, as rows of texts: for the page, for Markdown, and for the terminal."""

from collections.abc import Sequence

from .measure import Line
from .runs import Told

Table = tuple[Sequence[str], list[list[str]]]  # titles of the columns, rows


def comparison(runs: Sequence[Told]) -> Table:
    """A row for each run."""
    rows = []
    for run in runs:
        line = run.final
        measured = [line.stage, str(line.episodes), *_success(line)] if line else ["", "", "", ""]
        mistakes = f"{sum(line.mistakes.values()):.2f}" if line else ""
        rows.append([run.name, run.kind, *measured, mistakes, _count(run.tokens), _time(run.seconds)])
    titles = (
        "run",
        "kind",
        "measured on",
        "episodes",
        "success",
        "95 % interval",
        "mistakes an episode",
        "sampled tokens",
        "time",
    )
    return titles, rows


def measurements(run: Told) -> Table:
    """A row for each line of a run."""
    titles = ("stage", "policy", "episodes", "success", "95 % interval", "reward", "turns", "sampled tokens", "time")
    rows = [
        [
            line.stage,
            line.policy,
            f"{line.episodes:,}",
            *_success(line),
            "" if line.reward is None else f"{line.reward:.3f}",
            f"{line.turns:.1f}",
            _count(line.tokens),
            _time(line.seconds),
        ]
        for line in run.lines
    ]
    return titles, rows


def mistakes(run: Told) -> Table:
    """A row for each line that has any, a column for each category; how many an episode."""
    known = [line for line in run.lines if line.mistakes]
    categories = sorted({c for line in known for c in line.mistakes}, key=lambda c: -sum(x.mistakes.get(c, 0) for x in known))
    rows = [[line.stage, line.policy, *(f"{line.mistakes.get(c, 0):.2f}" for c in categories)] for line in known]
    return ("stage", "policy", *categories), rows


def _success(line: Line) -> tuple[str, str]:
    if line.success is None or line.low is None or line.high is None:
        return "", ""
    return f"{line.success:.1%}", f"{line.low:.1%} to {line.high:.1%}"


def _count(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def markdown(runs: Sequence[Told]) -> str:
    """The report as Markdown."""
    parts = ["# Report", _written(comparison(runs))]
    for run in runs:
        parts.append(f"## {_plain(run.name)}")
        parts += ["\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in run.about.items())] * bool(run.about)
        parts += [_written(table) for table in (measurements(run), mistakes(run)) if table[1]]
    return "\n\n".join(parts) + "\n"


def _written(table: Table) -> str:
    titles, rows = table
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _plain(text: str) -> str:
    """A text that is no markup: what agents and folders are called may hold anything."""
    special = text.translate({ord(c): f"\\{c}" for c in "\\`*_[]<>#|"})
    return " ".join(special.split())
