"""Pictures of a run."""

import json
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from agentgym_training.evaluate import Evaluation


class Series(Protocol):
    """A curve: points, and the ends of their intervals, which may be empty."""

    name: str
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


def before_and_after(before: Evaluation, after: Evaluation, metrics: Path, to: Path) -> None:
    """Success with its interval before and after training, beside the training loss, as a PNG.

    Args:
        before: Of the untrained policy.
        after: Of the trained one.
        metrics: The training's ``metrics.jsonl``.
        to: Where the picture goes.
    """
    lines = _lines(metrics)
    figure = _figure(9, 3.6)
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
    _save(figure, to)


def preference_curves(metrics: Path, to: Path) -> None:
    """How a preference training went: loss, log-probabilities of both sides, margin, accuracy and KL, as a PNG.

    Args:
        metrics: The training's ``metrics.jsonl``.
        to: Where the picture goes.
    """
    lines = _lines(metrics)
    steps = [m["step"] for m in lines]
    figure = _figure(11, 6)
    panels: dict[str, tuple[str, ...]] = {
        "Loss of a pair": ("loss",),
        "Log-probability of a side, nats": ("chosen_logps", "rejected_logps"),
        "Margin of rewards": ("margin",),
        "Chosen side ahead, % of pairs": ("accuracy",),
        "KL to the reference, nats a token": ("kl",),
    }
    for axes, (title, names) in zip(figure.subplots(2, 3).flat, panels.items(), strict=False):
        for name, colour in zip(names, ("#2f7d5b", "#b5533c"), strict=False):
            if name in lines[0]:  # a method without a reference has no KL to it
                values = [(100 if name == "accuracy" else 1) * m[name] for m in lines]
                axes.plot(steps, values, color=colour, label=name.partition("_")[0])
        if len(names) > 1:
            axes.legend(frameon=False)
        axes.set(xlabel="step", title=title)
    figure.axes[-1].set_visible(False)  # five panels on a grid of six
    _save(figure, to)


def rl_curves(metrics: Path, to: Path) -> None:
    """How a reinforcement learning went, over sampled tokens: what was earned, entropy, drift, gradients, actions, as a PNG.

    Args:
        metrics: The training's ``metrics.jsonl``.
        to: Where the picture goes.
    """
    lines = _lines(metrics)
    panels: dict[str, tuple[str, ...]] = {
        "Reward of an episode, and success": ("reward", "success"),
        "Entropy, nats a token": ("entropy",),
        "Distance from sampler and reference, nats a token": ("drift", "kl"),
        "Greatest ratio to the old policy": ("ratio_max",),
        "Norm of the gradient": ("grad_norm",),
        "Valid actions, and those cut off, share": ("valid", "cut"),
    }
    figure = _figure(11, 6)
    for axes, (title, names) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
        for name, colour in zip(names, ("#2f7d5b", "#b5533c"), strict=False):
            known = [m for m in lines if name in m]  # an update without anything to learn measures little
            if known:
                axes.plot([m["sampled_tokens"] for m in known], [m[name] for m in known], color=colour, label=name)
        if len(axes.lines) > 1:
            axes.legend(frameon=False)
        axes.set(xlabel="sampled tokens", title=title)
    _save(figure, to)


def curves(title: str, over: str, series: Sequence[Series]) -> bytes:
    """Curves with their intervals as an SVG that can be read on light and dark ground.

    Args:
        title: Of the picture.
        over: What the horizontal axis shows.
        series: Of which points and interval ends are drawn.
    """
    import matplotlib
    from matplotlib.ticker import EngFormatter

    grey, colours = "#868d94", ("#3f9d73", "#d0694f", "#4f8fd0", "#a07fd0", "#c29a3a", "#5fb3b3")
    look = {"svg.fonttype": "none", "svg.hashsalt": "agentgym", "font.family": "sans-serif", "text.parse_math": False}
    with matplotlib.rc_context(look), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # whoever shows the picture has other fonts
        figure = _figure(6.4, 3.4)
        axes = figure.subplots()
        for number, one in enumerate(series):
            colour = colours[number % len(colours)]
            axes.plot(one.x, one.y, color=colour, marker="o" if len(one.x) < 20 else "", markersize=4, label=_printable(one.name))
            if one.low:
                axes.fill_between(one.x, one.low, one.high, color=colour, alpha=0.18, linewidth=0)
        if 1 < len(series) <= 8:
            axes.legend(frameon=False, labelcolor=grey, fontsize=9)
        axes.set_title(_printable(title), color=grey, fontsize=11)
        axes.set_xlabel(_printable(over), color=grey)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(colors=grey)
        axes.grid(visible=True, color=grey, alpha=0.2)
        for spine in axes.spines.values():
            spine.set_visible(False)
        written = BytesIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    return written.getvalue()


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _lines(metrics: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in metrics.read_text().splitlines()]


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, and no global state as pyplot has
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, to: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, dpi=110)
