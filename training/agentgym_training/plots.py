"""Pictures of a run."""

import json
from pathlib import Path

from agentgym_training.evaluate import Evaluation


def before_and_after(before: Evaluation, after: Evaluation, metrics: Path, to: Path) -> None:
    """Success with its interval before and after training, beside the training loss, as a PNG.

    Args:
        before: Of the untrained policy.
        after: Of the trained one.
        metrics: The training's ``metrics.jsonl``.
        to: Where the picture goes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, and no global state as pyplot has
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for x, e in enumerate((before, after)):
        left.bar(x, 100 * e.success, color=("#9aa5b1", "#2f7d5b")[x], width=0.6)
        ends = [[100 * max(0.0, e.success - e.low)], [100 * max(0.0, e.high - e.success)]]
        left.errorbar(x, 100 * e.success, ends, color="black", capsize=4)
        left.annotate(f"{e.success:.1%}", (x, 100 * e.high), textcoords="offset points", xytext=(0, 5), ha="center")
    left.set_xticks([0, 1], ["before", "after"])
    left.set_title(f"Held-out success, {after.episodes} tasks")
    left.set_ylim(0, 112)
    left.set_yticks(range(0, 101, 20))
    left.set_ylabel("% (95 % interval over tasks)")
    right.plot([m["step"] for m in lines], [m["loss"] for m in lines], color="#2f7d5b")
    right.set(yscale="log", xlabel="step", ylabel="nats a token", title="Training loss on the agent's tokens")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, dpi=110)
