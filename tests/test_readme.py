"""The README is the face: its example runs, and its commands are commands."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from agentgym.cli.main import build_app
from agentgym_trajectories.store import Store

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [code for language, code in BLOCKS if language == "python"]
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert "played=100" in capsys.readouterr().out
    with Store(tmp_path / "runs/adder") as store:
        assert store.query("SELECT count(*), avg(success), avg(turns) FROM episodes") == [(100, 1.0, 2.0)]


def test_the_commands_are_commands() -> None:
    lines = [line.partition("#")[0] for _, code in BLOCKS for line in code.splitlines() if line.startswith("agentgym ")]
    assert len(lines) >= 7
    for line in lines:
        command, arguments = typer.main.get_command(build_app()), shlex.split(line)[1:]
        while hasattr(command, "commands"):
            name, *arguments = arguments
            command = command.commands[name]
        command.make_context("agentgym", arguments)


def test_the_makefile_has_the_two_commands() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target} " in README
        assert f"\n{target}: " in makefile


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"@[A-Z]+@|TODO|FIXME", README)
