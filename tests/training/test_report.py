"""Reports: numbers worked out by hand, runs that are not done, and texts that would be markup."""

import base64
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym import EnvironmentFailure, ErrorCategory, Message, UserError
from agentgym_training import evaluate as evaluating
from agentgym_training.cli_report import report
from agentgym_training.evaluate import bootstrap
from agentgym_training.plots import curves
from agentgym_training.report.measure import evaluated, stored
from agentgym_training.report.page import page
from agentgym_training.report.runs import Series, Told, read
from agentgym_training.report.tables import comparison, markdown, measurements, mistakes
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode
from tests.trajectories.test_store import episode

MEASURED = {
    "success": 0.5,
    "low": 0.4,
    "high": 0.6,
    "episodes": 100,
    "reward": 0.45,
    "turns": 3.0,
    "tokens": 70.5,
    "errors": {"tool_error": 0.25},
}
EVIL = "<script>hacked=1</script>|`*x*`\x00[a](javascript:1)$\\frac$中"


def play(folder: Path, version: str, solved: list[float], seconds: float = 2.0, first: int = 0) -> None:
    """Two attempts at each task; an episode ends every second."""
    with Store(folder, create=True) as store:
        for number, reward in enumerate(solved):
            made = episode(task=first + number // 2, sample=number % 2, version=version, reward=reward)
            made.seconds = seconds
            store.add(made)
        store.flush()
        store._db.execute("UPDATE episodes SET created = 1000.0 + id")


# ---- numbers -------------------------------------------------------------------------------------------------------------------


def test_a_store_is_counted_by_hand(tmp_path: Path) -> None:
    play(tmp_path, "v1", [1.0, 0.0, 1.0, 1.0])
    play(tmp_path, "v2", [0.0, 0.0])
    with Store(tmp_path) as store:
        one, two = stored("part", store)
    assert (one.stage, one.env, one.policy, one.episodes, one.success, one.reward) == ("part", "test/X-v0", "v1", 4, 0.75, 0.75)
    assert (one.tokens, one.turns) == (12, 2.0)  # three sampled tokens in two turns each
    assert one.seconds == 1004 - (1001 - 2.0)
    assert one.mistakes == {str(ErrorCategory.TOOL_ERROR): 1.0}
    assert (one.low, one.high) == bootstrap([[1.0, 0.0], [1.0, 1.0]])
    assert (two.success, two.low) == (0.0, 0.0)
    assert two.high == bootstrap([[0.0, 0.0]])[1]
    assert read(tmp_path).final is not None


def test_the_interval_does_not_depend_on_how_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [[float(i % 3 == 0)] * (1 + i % 2) for i in range(50)]
    sums, sizes = np.array([sum(g) for g in groups]), np.array([len(g) for g in groups])
    drawn = np.random.default_rng(3).integers(50, size=(evaluating.RESAMPLES, 50))
    whole = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
    for draws in (1, 333, 2**21, 2**30):
        monkeypatch.setattr(evaluating, "DRAWS", draws)
        assert bootstrap(groups, 3) == tuple(whole)


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name.replace('_', '-')}.json").write_text(json.dumps(content))
    return folder


def a_loop(path: Path) -> Path:
    write(
        path,
        start=MEASURED | {"success": 0.3, "low": 0.2, "high": 0.4},
    )
    (path / "recipe.yaml").write_text("env: test/X-v0\nenv_args: {b: 1}\nseed: 3\n")
    for number, success in ((1, 0.5), (2, 0.6)):
        folder = path / f"round-{number}"
        play(folder, f"v{number}", [1.0, 0.0], seconds=1.0)
        write(
            folder,
            collect={"sampled_tokens": 1000 * number},
            pairs={"pairs": 7},
            validation=MEASURED | {"success": success},
        )
        write(folder, sft={"seconds": 10.0, "successes": 2}, preference={"seconds": 5.0})
        write(folder / "preference")
        (folder / "preference/metrics.jsonl").write_text(
            '{"step": 1, "loss": 0.7, "accuracy": 0.5}\n{"step": 2, "loss": 0.5, "accuracy": 0.6}\n'
        )
    tested = {"first": MEASURED | {"success": 0.31}, "policy": MEASURED | {"success": 0.58}}
    return write(path, eval={"policies": tested})


def test_a_loop_is_told_round_by_round(tmp_path: Path) -> None:
    told = read(a_loop(tmp_path / "loop"))
    assert (told.kind, told.tokens, told.seconds) == ("loop", 3000, 2 * 15.0 + 2 * 2.0)
    assert told.about["pairs by round"] == "7, 7"
    assert [line.stage for line in told.lines][:5] == [
        "start, validation",
        "round 1, validation",
        "round 2, validation",
        "eval, first",
        "eval, policy",
    ]
    assert [line.policy for line in told.lines][5:] == ["v1", "v2"]
    assert (told.success.x, told.success.y) == ([0.0, 1000, 3000], [0.3, 0.5, 0.6])
    assert told.success.low == [0.2, 0.4, 0.4]
    assert told.final is not None
    assert (told.final.success, told.final.tokens) == (0.58, 7050)
    over, series = told.curves["Training loss"]
    assert (over, [s.name for s in series], series[0].y) == ("step", ["round-1/preference", "round-2/preference"], [0.7, 0.5])
    assert [what for what, _ in told.samples] == ["solved", "not solved"]


def test_a_loop_under_way_is_told_as_far_as_it_is(tmp_path: Path) -> None:
    whole = a_loop(tmp_path / "loop")
    for name in (
        "eval.json",
        "round-2/validation.json",
        "round-2/sft.json",
        "round-2/preference.json",
        "round-2/collect.json",
    ):
        (whole / name).unlink()
    told = read(whole)
    assert told.final is not None
    assert (told.final.stage, told.final.success, told.tokens) == ("round 1, validation", 0.5, 1000)
    (whole / "round-1/validation.json").write_text('{"succ')
    with pytest.raises(UserError, match=r"validation.json is no JSON"):
        read(whole)


def test_reinforcement_learning_is_told_with_its_curves(tmp_path: Path) -> None:
    lines = [
        {
            "update": n,
            "reward": n / 10,
            "success": 0.1,
            "valid": 0.9,
            "sampled_tokens": 100 * n,
            "seconds_collect": 1.0,
            "seconds_update": 0.5,
            "alarms": "",
        }
        for n in range(1, 21)
    ]
    lines[4]["alarms"] = "entropy collapsed"
    del lines[2]["reward"]
    out = write(tmp_path / "rl", training={"method": "grpo", "lr": 1e-4, "seed": 0, "kl": None}, before=MEASURED)
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"update": 21, "rew')
    for n in range(1, 21):
        play(out / "rollouts", f"update-{n}", [1.0, 0.0])
    with Store(out / "rollouts") as store:
        store.add_failure(episode(), 0, EnvironmentFailure("gone"))
    told = read(out)
    assert (told.kind, told.tokens, told.seconds) == ("RL", 2000, 30.0)
    assert told.about["alarms"] == "update 5: entropy collapsed"
    assert told.about["failed attempts in rollouts"] == "1 EnvironmentFailure"
    assert told.about["method"] == "grpo"
    assert len(told.lines) == 1 + 12  # of 20 updates the first and the last
    assert told.curves["Reward"][1][0].x == [100 * n for n in range(1, 21) if n != 3]
    assert "Entropy, nats a token" not in told.curves
    assert len(told.success.x) == 20
    assert told.final is not None
    assert told.final.stage == "before training, held out"
    write(out, after=MEASURED | {"success": 0.9})
    assert comparison([read(out)])[1][0][4] == "90.0%"


def test_a_training_alone_has_its_loss(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "loss": 2.0}\n{"step": 20, "loss": 1.0}\n')
    told = read(tmp_path)
    assert (told.kind, told.final, told.curves["Training loss"][1][0].y) == ("training", None, [2.0, 1.0])
    assert comparison([told])[1][0][:3] == [tmp_path.name, "training", ""]
    assert page([told]).count("<img") == 1


def test_without_anything_measured_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was measured in"):
        read(tmp_path)


# ---- pages ---------------------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """What a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile(folder: Path) -> Told:
    made: Episode = episode(version=EVIL, text=EVIL)
    made.task.data["x"] = EVIL
    made.nodes[-1].messages = (Message("assistant", EVIL + "y" * 5000),)
    with Store(folder, create=True) as store:
        store.add(made)
    told = read(folder)
    told.about[EVIL] = EVIL
    told.curves[EVIL] = EVIL, [Series(EVIL, [1, 2], [3, 4]), Series(EVIL, [1, 2], [3, 4])]
    return told


def test_texts_of_agents_are_texts(tmp_path: Path) -> None:
    told = hostile(tmp_path / "<b>run</b>")
    written = page([told])
    found = Reader(written)
    assert found.tags["script"] == found.tags["b"] == found.tags["a"] == 0
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "".join(found.texts).count("<script>hacked=1</script>") >= 5
    assert f"… ({len(EVIL) + 5000:,} characters)" in "".join(found.texts)
    pictures = [base64.b64decode(value.partition(",")[2]) for name, value in found.attributes if name == "src" and value]
    assert pictures
    assert all(b"<svg" in p and b"<script>hacked" not in p for p in pictures)
    assert "http" not in re.sub(r'http-equiv|charset="utf-8"', "", written.partition("<body>")[0])
    table = markdown([told])
    assert "\\<script\\>" in table
    columns = {line.count("|") - line.count("\\|") for line in table.splitlines() if line.startswith("|")}
    assert columns == {10, 4}  # nine of measurements, three of mistakes


def test_tables_of_runs_beside_each_other(tmp_path: Path) -> None:
    runs = [read(a_loop(tmp_path / name)) for name in ("one", "two")]
    titles, rows = comparison(runs)
    first = dict(zip(titles, rows[0], strict=True))
    assert first == {
        "run": "one",
        "kind": "loop",
        "measured on": "eval, policy",
        "episodes": "100",
        "success": "58.0%",
        "95 % interval": "40.0% to 60.0%",
        "mistakes an episode": "0.25",
        "sampled tokens": "3,000",
        "time": "34 s",
    }
    assert measurements(runs[0])[1][0] == ["start, validation", "", "100", "30.0%", "20.0% to 40.0%", "0.450", "3.0", "7,050", ""]
    assert mistakes(runs[0])[0] == ("stage", "policy", "tool_error")
    written = page(runs)
    assert Reader(written).tags["img"] == 1 + 2 * 2  # both runs in one, then loss and accuracy of each
    assert page(runs) == written  # twice the same
    assert len(markdown(runs).split("\n## ")) == 3


def test_unjudged_and_long_and_short_times(tmp_path: Path) -> None:
    line = evaluated("x", MEASURED)
    told = Told("r", lines=[line], final=line, seconds=7300.0)
    assert comparison([told])[1][0][-2:] == ["", "2.0 h"]
    told.seconds = 600.0
    assert comparison([told])[1][0][-1] == "10 min"


def test_curves_are_readable_pictures() -> None:
    drawn = curves(
        "T & <t>", "tokens", [Series("a <b>", [0, 1000], [0.1, 0.2], [0.0, 0.1], [0.2, 0.3]), Series("c", [0, 1], [1, 2])]
    )
    assert b"T &amp; &lt;t&gt;" in drawn
    assert b"a &lt;b&gt;" in drawn
    assert b"http://www.w3.org/2000/svg" in drawn


def test_the_command_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = a_loop(tmp_path / "loop")
    for _ in range(2):  # again over the first
        report([loop], tmp_path / "out/r.html", json=True)
        said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["runs"] == [{"run": str(loop), "kind": "loop", "success": 0.58, "tokens": 3000, "seconds": 34.0}]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["r.html", "r.md"]
