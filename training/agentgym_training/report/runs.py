"""A run as its folder tells it: a recipe, a reinforcement learning, a training, or any folder with stores of episodes.

Nothing is asked of a folder but the files that are there, so that a run under way can be reported on too.
"""

import json
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from agentgym import UserError
from agentgym_trajectories.store import FILE
from agentgym_trajectories.tree import Trajectory
from agentgym_trajectories.view.content import BrokenError, episode_of
from agentgym_trajectories.view.run import Run, natural

from .measure import Line, evaluated, stored

RECIPE = "recipe.yaml"
MOST = 12  # lines of one store in a table: of many updates, the first and the last


@dataclass
class Series:
    """A curve.

    Attributes:
        name: What it shows.
        x: Sampled tokens, or steps.
        y: Values.
        low: Lower ends of their intervals; empty for none.
        high: Upper ends.
    """

    name: str
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass
class Told:
    """What there is to say of a run.

    Attributes:
        name: Of its folder.
        kind: "loop" (a recipe with rounds), "recipe", "RL", "training" or "episodes".
        about: Facts in a few words.
        lines: What was measured, in its order.
        final: The line that the run is compared by; None where nothing was measured.
        tokens: Sampled in all; None where unknown.
        seconds: Taken in all.
        success: Success over sampled tokens, to be compared with other runs'.
        curves: By title, each over its ``x`` label.
        samples: Trajectories to look at, with what they are.
    """

    name: str
    kind: str = "episodes"
    about: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    final: Line | None = None
    tokens: float | None = None
    seconds: float | None = None
    success: Series = field(default_factory=lambda: Series("success"))
    curves: dict[str, tuple[str, list[Series]]] = field(default_factory=dict)
    samples: list[tuple[str, Trajectory]] = field(default_factory=list)


def read(path: Path) -> Told:
    """What a run's folder tells.

    Raises:
        UserError: nothing was measured there.
    """
    told = Told(path.resolve().name)
    stores = [path] if path.suffix == ".db" else [f for depth in ("", "*/", "*/*/") for f in path.glob(depth + FILE)]
    if any(map(Path.is_file, stores)):
        run = Run(path)
        try:
            _stores(run, told)
        finally:
            run.close()
    if (path / RECIPE).is_file():
        _recipe(path, told)
    elif (path / "metrics.jsonl").is_file():
        _trained(path, told)
    if not told.lines and not told.curves:
        raise UserError(f"nothing was measured in {path}: give the directory of a collection, a loop or a training")
    if told.final is None and told.lines:
        last = told.lines[-1]
        told.final = replace(last, stage=f"{last.stage}, {last.policy}".strip(", "))
    return told


# ---- stores ------------------------------------------------------------------------------------------------------------


def _stores(run: Run, told: Told) -> None:
    """A line for each policy in each store; in all, what they cost."""
    for name, store in run.parts():
        lines = stored(name, store)
        told.tokens = (told.tokens or 0) + sum(line.tokens or 0 for line in lines)
        told.seconds = (told.seconds or 0) + sum(line.seconds or 0 for line in lines)
        told.lines += lines if len(lines) <= MOST else [*lines[: MOST // 2], *lines[-MOST // 2 :]]
        told.samples = _samples(store) or told.samples  # of the last part
        counted = store.query("SELECT kind, count(*) FROM failures GROUP BY 1 ORDER BY 2 DESC")
        if counted:
            told.about[f"failed attempts in {name}"] = ", ".join(f"{count} {kind}" for kind, count in counted)
        if len(lines) > 2:
            _success(told, lines)


def _success(told: Told, lines: list[Line]) -> None:
    """Success by policy over the tokens sampled until then."""
    judged = [line for line in lines if line.success is not None]
    spent = list(accumulate(line.tokens or 0 for line in judged))
    values = [[getattr(line, name) for line in judged] for name in ("success", "low", "high")]
    told.success = Series(told.name, spent, *values)


def _samples(store: Any) -> list[tuple[str, Trajectory]]:
    """The first success and the first failure of the newest policy."""
    found = []
    newest = "(SELECT version FROM episodes ORDER BY id DESC LIMIT 1)"
    for what, success in (("solved", 1), ("not solved", 0)):
        rows = store.query(f"SELECT id FROM episodes WHERE version = {newest} AND success = ? ORDER BY id LIMIT 1", success)
        for (row,) in rows:
            try:
                found.append((what, max(episode_of(store, row).trajectories(), key=lambda t: t.reward)))
            except (BrokenError, ValueError):  # a damaged record, or a tree without an end
                continue
    return found


# ---- recipes -----------------------------------------------------------------------------------------------------------


def _recipe(path: Path, told: Told) -> None:
    """What the stages measured; of rounds, success on validation tasks and what each cost."""
    recipe = yaml.safe_load((path / RECIPE).read_text("utf-8"))
    env, stages = str(recipe.get("env", "")), _stages(path)
    told.about |= {"environment": f"{env} {json.dumps(recipe.get('env_args', {}))}", "seed": str(recipe.get("seed", ""))}
    evaluations = [(f"{name}, {policy}", m) for name, s in stages.items() for policy, m in s.get("policies", {}).items()]
    tested = [evaluated(name, measured, env) for name, measured in evaluations]
    told.kind, told.final = "recipe", tested[-1] if tested else None
    told.tokens = sum(s.get("sampled_tokens", 0) for s in stages.values())
    told.seconds = (told.seconds or 0.0) + sum(map(_seconds, stages.values()))
    rounds = sorted(path.glob("round-*"), key=lambda f: natural(f.name))
    validated = _rounds(path, rounds, told, env) if rounds else []
    told.lines = [*validated, *tested, *told.lines]
    told.final = told.final or (validated[-1] if validated else None)
    logs = [f.parent for depth in ("*/", "*/*/") for f in path.glob(f"{depth}metrics.jsonl")]
    for folder in sorted(logs, key=lambda f: natural(str(f))):
        _losses(folder, told, str(folder.relative_to(path)))
        _earnings(_lines(folder / "metrics.jsonl"), told)


def _rounds(path: Path, rounds: list[Path], told: Told, env: str) -> list[Line]:
    """Returns the lines of the validations."""
    told.kind = "loop"
    done = [_stages(f).values() for f in rounds]
    tokens, pairs = ([sum(s.get(key, 0) for s in of) for of in done] for key in ("sampled_tokens", "pairs"))
    told.tokens = (told.tokens or 0) + sum(tokens)
    told.seconds = (told.seconds or 0.0) + sum(_seconds(s) for of in done for s in of)
    measured = [("start", _json(path / "start.json"))]
    measured += [(f.name.replace("-", " "), _json(f / "validation.json")) for f in rounds]
    spent = [0.0, *accumulate(tokens)]
    shown = [(x, evaluated(name, m)) for x, (name, m) in zip(spent, measured, strict=True) if m]
    series = [[getattr(line, name) for _, line in shown] for name in ("success", "low", "high")]
    told.success = Series(told.name, [x for x, _ in shown], *series)
    if any(pairs):
        told.about["pairs by round"] = ", ".join(f"{n:,}" for n in pairs)
    return [evaluated(f"{name}, validation", m, env) for name, m in measured if m]


def _stages(folder: Path) -> dict[str, dict[str, Any]]:
    """The results of the stages that are done in this folder, by name."""
    files = sorted(folder.glob("*.json"), key=lambda f: (f.stat().st_mtime, f.name))
    return {f.stem: _json(f) for f in files if f.stem not in ("start", "validation", "round")}


def _seconds(found: Any) -> float:
    """All seconds in a stage's result, whether it trained once or twice."""
    if not isinstance(found, dict):
        return 0.0
    return float(found.get("seconds", 0.0)) + sum(map(_seconds, found.values()))


# ---- trainings ---------------------------------------------------------------------------------------------------------


def _trained(path: Path, told: Told) -> None:
    """A training by examples, or a reinforcement learning."""
    lines = _lines(path / "metrics.jsonl")
    told.kind = "RL" if lines and "update" in lines[0] else "training"
    config = _json(path / "training.json")
    told.about |= {k: str(config[k]) for k in ("method", "loss", "lr", "seed", "staleness") if config.get(k) is not None}
    if told.kind == "training":
        _losses(path, told, told.name)
        return
    measured = [(name, _json(path / f"{name}.json")) for name in ("before", "after")]
    held_out = [evaluated(f"{name} training, held out", m) for name, m in measured if m]
    told.lines = [*held_out, *told.lines]
    told.final = held_out[-1] if held_out else None
    if not lines:
        return
    told.tokens = lines[-1]["sampled_tokens"]
    told.seconds = sum(line.get("seconds_collect", 0) + line.get("seconds_update", 0) for line in lines)
    if alarmed := [f"update {line['update']}: {line['alarms']}" for line in lines if line.get("alarms")]:
        told.about["alarms"] = "; ".join(alarmed[-3:])
    _earnings(lines, told)


def _earnings(lines: list[dict[str, Any]], told: Told) -> None:
    """The curves of a reinforcement learning; nothing of other logs."""
    panels = {
        "Reward": ("reward",),
        "Entropy, nats a token": ("entropy",),
        "Valid actions": ("valid",),
        "Held out": ("held_out",),
    }
    for title, names in panels.items():
        series = [_curve(lines, name, "sampled_tokens") for name in names]
        if any(s.x for s in series):
            told.curves.setdefault(title, ("sampled tokens", []))[1].extend(s for s in series if s.x)


def _losses(path: Path, told: Told, name: str) -> None:
    """The loss of a training, and the accuracy of one on pairs."""
    lines = _lines(path / "metrics.jsonl")
    for measured, title in (("loss", "Training loss"), ("accuracy", "Chosen side ahead")):
        series = _curve(lines, measured, "step")
        if series.x:
            series.name = name
            told.curves.setdefault(title, ("step", []))[1].append(series)


def _curve(lines: list[dict[str, Any]], name: str, over: str) -> Series:
    known = [line for line in lines if isinstance(line.get(name), int | float) and over in line]
    return Series(name, [line[over] for line in known], [line[name] for line in known])


def _json(file: Path) -> dict[str, Any]:
    """A stage's result; nothing where it is not done."""
    try:
        return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}
    except ValueError as error:
        raise UserError(f"{file} is no JSON ({error}): remove it, and run its stage again") from error


def _lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a log; a kill may have cut the last one."""
    written = file.read_text("utf-8").splitlines(keepends=True) if file.is_file() else []
    return [json.loads(line) for line in written if line.endswith("\n")]
