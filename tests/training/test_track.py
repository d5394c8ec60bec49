"""Trackers: what they are told, through the callbacks of transformers."""

import importlib.machinery
import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from pydantic import BaseModel
from transformers.integrations import integration_utils

from agentgym import UserError
from agentgym.errors import NotInstalled
from agentgym_training import track
from agentgym_training.preference import Preference
from agentgym_training.reward_model import RewardModelling
from agentgym_training.rl.config import RL
from agentgym_training.rl.es import ES
from agentgym_training.rows import training_rows
from agentgym_training.sft import Sft, train_sft
from agentgym_training.track import Tracker
from tests.commands import run
from tests.training.folders import logged


class Kept(transformers.TrainerCallback):
    """Stands in for the callback of a service."""

    told: list[tuple[str, int, dict[str, Any]]]

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.told.append((args.run_name, state.global_step, {}))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        self.told.append((args.run_name, state.global_step, dict(logs)))

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.told.append((args.run_name, state.global_step, {"end": True}))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, dict[str, Any]]]:
    """What "wandb" was told."""
    found: list[tuple[str, int, dict[str, Any]]] = []
    monkeypatch.setattr(Kept, "told", found, raising=False)
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Kept)
    monkeypatch.setattr(track, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    return found


def test_sft_tells_a_tracker_what_it_logs(tmp_path: Path, nano_dir: Path, nano_chat: Any, demonstrations: Any, told: Any) -> None:
    rows = training_rows(demonstrations[:4], nano_chat.tokenizer)
    train_sft(nano_dir, rows, tmp_path / "policy", Sft(max_steps=2, batch_size=2, track="wandb"))
    measured = [(step, told["loss"]) for _, step, told in told if "loss" in told]
    assert measured == [(line["step"], line["loss"]) for line in logged(tmp_path / "policy")]
    assert {name for name, _, _ in told} == {"policy"}
    assert "track" not in json.loads((tmp_path / "policy/training.json").read_text())


def test_reinforcement_learning_tells_numbers_alone(tmp_path: Path, nano_dir: Path, told: Any) -> None:
    tiny = ("--env", "games/KeyDoor-v0", "--model", nano_dir, "--tasks", 1, "--max-tokens", 4, "--track", "wandb")
    run("train", "rl", *tiny, "--out", tmp_path / "rl", "--updates", 1, "--samples", 2, "--eval-tasks", 0)
    (line,) = logged(tmp_path / "rl")
    assert told == [
        ("rl", 0, {}),
        ("rl", 1, {name: value for name, value in line.items() if not isinstance(value, str)}),
        ("rl", 1, {"end": True}),
    ]
    told.clear()
    run("train", "rl", *tiny, "--out", tmp_path / "rl", "--updates", 1, "--samples", 2, "--eval-tasks", 0, "--resume")
    assert [step for _, step, _ in told] == [1, 1]
    told.clear()
    run("train", "es", *tiny, "--out", tmp_path / "es", "--updates", 2, "--pairs", 1)
    assert [step for _, step, _ in told] == [0, 1, 2, 2]
    assert [line["reward"] for line in logged(tmp_path / "es")] == [told["reward"] for _, _, told in told if "reward" in told]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = Tracker("tensorboard", tmp_path)
    for step in (1, 2, 3):
        tracker.log(step, {"reward": step / 4, "alarms": "none"})
    tracker.close()
    (written,) = tmp_path.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(written.parent))
    events.Reload()
    (name,) = events.Tags()["scalars"]
    assert name.endswith("reward")
    assert [(e.step, e.value) for e in events.Scalars(name)] == [(1, 0.25), (2, 0.5), (3, 0.75)]


@pytest.mark.parametrize("kind", [Sft, Preference, RewardModelling, RL, ES])
def test_every_training_says_which_trackers_there_are(kind: type[BaseModel], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no tracker 'comet': use one of tensorboard, wandb, mlflow, trackio"):
        kind(track="comet")
    monkeypatch.setattr(track, "find_spec", lambda name: None)
    for name in track.TRACKERS:
        with pytest.raises(NotInstalled, match=rf"--track {name} needs the package {name}: pip install 'agentgym\[{name}\]'"):
            kind(track=name)


def test_without_a_tracker_nobody_is_told(tmp_path: Path) -> None:
    tracker = Tracker(None, tmp_path)
    tracker.log(1, {"loss": 1.0})
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_transformers_knows_all_of_them() -> None:
    assert set(track.TRACKERS) <= set(integration_utils.INTEGRATION_TO_CALLBACK)
