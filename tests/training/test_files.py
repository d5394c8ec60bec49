"""Whatever happens while a file is written, there is the old one or the new one."""

import json
from pathlib import Path

import pytest

from agentgym_training.base import same_training
from agentgym_training.files import at_once, keep_lines, write_json
from agentgym_training.sft import Sft


class Killed(BaseException):
    pass


def die(*_):
    raise Killed


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "new/state.json"
    write_json(file, {"update": 1})
    with pytest.raises(Killed), at_once(file) as part:
        die(part.write_text("{"))
    assert json.loads(file.read_text()) == {"update": 1}
    write_json(file, {"update": 2})
    assert json.loads(file.read_text()) == {"update": 2}
    assert [f.name for f in file.parent.iterdir()] == ["state.json"]


def test_a_directory_begun_by_a_killed_process_is_begun_anew(tmp_path):
    with pytest.raises(Killed), at_once(tmp_path / "base") as part:
        die(part.mkdir(), (part / "stale").touch())
    with at_once(tmp_path / "base") as part:
        part.mkdir()
        (part / "weights").touch()
    assert [f.name for f in (tmp_path / "base").iterdir()] == ["weights"]


def test_a_log_keeps_its_lines_when_it_is_shortened(tmp_path, monkeypatch):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"st')
    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(Killed):
        keep_lines(log, lambda line: line["step"] < 2)
    assert log.read_text().startswith('{"step": 1}\n{"step": 2}\n')
    monkeypatch.undo()
    assert keep_lines(log, lambda line: line["step"] < 2) == [{"step": 1}]
    assert log.read_text() == '{"step": 1}\n'
    assert keep_lines(tmp_path / "new.jsonl", bool) == []


def test_what_a_training_was_is_known_after_a_kill(tmp_path, monkeypatch):
    same_training([1], Sft(), tmp_path, resume=False)
    wanted = (tmp_path / "training.json").read_text()

    def killed(self, text):
        self.write_bytes(text[: len(text) // 2].encode())
        raise Killed

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(Killed):
        same_training([1], Sft(), tmp_path, resume=True)
    assert (tmp_path / "training.json").read_text() == wanted
