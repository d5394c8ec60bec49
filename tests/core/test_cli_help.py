"""Help fits a screen and shows an example; the shell completes; the doctor tells the truth; packages say that they are typed."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

import agentgym
from agentgym.cli import doctor, extras, main
from agentgym.errors import NotInstalled
from tests.commands import run

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
APP = main.build_app()


def _commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    return [path, *(p for name, below in getattr(command, "commands", {}).items() for p in _commands(below, (*path, name)))]


@pytest.mark.parametrize("path", _commands(typer.main.get_command(APP)), ids=" ".join)
def test_help_fits_a_screen_and_has_an_example(path: tuple[str, ...]) -> None:
    """A screen is 40 lines of 100 columns."""
    done = CliRunner().invoke(APP, [*path, "--help"], prog_name="agentgym", terminal_width=main.WIDTH)
    lines = done.output.splitlines()
    assert done.exit_code == 0
    assert len(lines) <= 40
    assert max(map(len, lines)) <= main.WIDTH == 100
    examples = [line for line in lines if line.startswith("  Example: agentgym ")]
    assert examples
    assert all(line.split()[2:4][: len(path[:2])] == list(path[:2]) for line in examples)


def test_every_command_has_its_place_in_the_list() -> None:
    assert set(PROJECT["project"]["entry-points"]["agentgym.commands"]) <= set(main._ORDER)


# ---- completion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("agentgym coll", ["collect"]),
        ("agentgym train pre", ["preference"]),
        ("agentgym env show desk/", ["desk/Orders-v0"]),
        ("agentgym collect --env games/K", ["games/KeyDoor-v0"]),
        ("agentgym eval --conc", ["--concurrency"]),
    ],
)
def test_the_shell_completes_commands_options_and_environments(words: str, found: list[str]) -> None:
    asked = {"_AGENTGYM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = CliRunner().invoke(APP, [], prog_name="agentgym", env=asked)
    assert done.stdout.split() == found


def test_bash_can_read_the_completion(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agentgym"],
        env=os.environ | {"_AGENTGYM_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "completion").write_text(done.stdout)
    subprocess.run(["bash", "-n", str(tmp_path / "completion")], check=True)
    assert "_agentgym_completion" in done.stdout


# ---- the doctor ----------------------------------------------------------------------------------------------------------


def test_the_doctor_knows_every_extra() -> None:
    assert set(doctor.GIVES) == set(PROJECT["project"]["optional-dependencies"])


def test_the_doctor_finds_the_core_sound() -> None:
    found = run("doctor")
    assert (found["ok"], found["problems"]) == (True, [])
    assert found["machine"].keys() == {"gpu", "docker", "chromium", "local sandbox"}
    assert all(m["text"] for m in found["machine"].values())
    assert found["extras"]["dev"] == {
        "installed": True,
        "gives": doctor.GIVES["dev"],
        "missing": [],
        "pip": "pip install 'agentgym[dev]'",
    }


def test_the_doctor_says_what_a_missing_extra_would_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "version", lambda name: {"typer": "99"}[name])
    monkeypatch.setattr(extras, "requires", lambda name: ["typer>=0.15", "wandb>=0.19; extra == 'wandb'", "ray; extra == 'ray'"])
    monkeypatch.setattr(extras, "PackageNotFoundError", KeyError)
    done = CliRunner().invoke(APP, ["doctor"], prog_name="agentgym")
    assert done.exit_code == 0
    (line,) = [line.split() for line in done.stdout.splitlines() if line.startswith("wandb")]
    assert " ".join(line) == "wandb --track wandb pip install 'agentgym[wandb]'"
    assert "The core is sound." in done.stdout


def test_a_broken_core_has_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "requires", lambda name: ["typer>=99", "nothing-such>=1"])
    monkeypatch.setattr(doctor, "PYTHONS", ((3, 99), (3, 99)))
    monkeypatch.setattr(doctor, "SQLITE", (99, 0))
    monkeypatch.setattr(doctor, "specs", dict)
    monkeypatch.setattr(doctor, "entry_points", lambda group: [EntryPoint("odd", "no_such_module:app", group)])
    found = run("doctor", code=1)
    said = " ".join(found["problems"])
    assert not found["ok"]
    assert len(found["problems"]) == 6
    for part in ("3.99", "typer 0.", "nothing-such is missing", "SQLite", "no environment", "agentgym odd"):
        assert part in said


@pytest.mark.parametrize(
    ("found", "wanted", "fits"),
    [
        ("2.13.0+cpu", ">=2.11,<2.14", True),
        ("2.14.0", ">=2.11,<2.14", False),
        ("2.9", ">=2.11", False),
        ("5.19.0", "<5.24,>=5.17", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(found: str, wanted: str, fits: bool) -> None:
    assert extras.fits(found, wanted) is fits


@pytest.mark.parametrize(
    ("listed", "torch", "ok", "text"),
    [
        ("", "2.13.0+cpu", False, "none"),
        (
            "GPU 0: NVIDIA H200 (UUID: GPU-1)\n",
            "2.13.0+cpu",
            False,
            "GPU 0: NVIDIA H200, but torch 2.13.0+cpu is a build without CUDA",
        ),
        ("GPU 0: NVIDIA H200 (UUID: GPU-1)\n", "2.13.0", True, "GPU 0: NVIDIA H200"),
        ("GPU 0: NVIDIA H200 (UUID: GPU-1)\n", "", False, "torch is missing"),
    ],
)
def test_a_gpu_needs_its_build_of_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, torch: str, ok: bool, text: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{listed}'")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "installed", lambda package: torch)
    found = doctor.gpu()
    assert found["ok"] is ok
    assert text in found["text"]


def test_what_is_not_there_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "missing", lambda: ("landlock (no Landlock)",))
    assert "start one, or take the local sandbox" in doctor.docker()["text"]
    assert "playwright install chromium" in doctor.browser()["text"]
    assert doctor.local_sandbox() == {"ok": False, "text": "this kernel lacks landlock (no Landlock): use the docker sandbox"}
    (tmp_path / "chromium-1/chrome-linux").mkdir(parents=True)
    (tmp_path / "chromium-1/chrome-linux/chrome").touch()
    assert doctor.browser() == {"ok": True, "text": str(tmp_path / "chromium-1/chrome-linux/chrome")}
    monkeypatch.setitem(sys.modules, "docker", None)
    monkeypatch.delitem(sys.modules, "agentgym.sandbox.docker", raising=False)
    assert doctor.docker()["text"].endswith("pip install 'agentgym[docker]'")


def test_what_is_there_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = pytest.importorskip("agentgym.sandbox.docker")

    class Engine:
        def version(self) -> dict[str, str]:
            return {"Version": "20.10"}

        def close(self) -> None:
            pass

    monkeypatch.setattr(docker, "connect", Engine)
    assert doctor.docker() == {"ok": True, "text": "Engine 20.10"}

    def no_namespaces() -> tuple[str, ...]:
        raise NotInstalled("this machine has no local sandbox")

    monkeypatch.setattr(doctor, "missing", no_namespaces)
    assert doctor.local_sandbox() == {"ok": False, "text": "this machine has no local sandbox"}


def test_without_metadata_there_are_no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise extras.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", unknown)
    assert extras.packages() == {}
    assert extras.extra_of("torch") == ""


# ---- what goes with the project ------------------------------------------------------------------------------------------


def test_all_packages_are_typed() -> None:
    packages = [ROOT / path for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    assert len(packages) == 4
    assert all((package / "py.typed").is_file() for package in packages)


def test_the_project_can_be_cited() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == agentgym.__version__ == PROJECT["project"]["version"]
    assert {"message", "title", "authors", "license", "type", "abstract"} <= cited.keys()
    assert cited["license"] == PROJECT["project"]["license"]
