"""What becomes of peers that are not there, that crash or hang; the peers themselves run only where `make peers` was."""

import shutil
from pathlib import Path

import pytest

from tests.benchmarks import peers, rollout

HERE = Path(__file__).parent


@pytest.fixture
def venvs(tmp_path, monkeypatch):
    """An empty folder of environments, and a function that puts in one whose Python is a shell script."""
    monkeypatch.setattr(peers, "VENVS", tmp_path)

    def install(name: str, script: str) -> None:
        python = tmp_path / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)

    return install


def test_every_peer_has_a_module_and_a_line_that_installs_it():
    modules = {file.stem for file in (HERE / "peers").glob("*.py")} - {"__init__"}
    lines = [line for line in (HERE / "peers.txt").read_text().splitlines() if not line.startswith("#")]
    assert set(peers.EPISODES) == modules == {line.split()[2] for line in lines}


def test_without_peers_the_benchmark_measures_us_and_says_how_to_install_them(venvs, capsys):
    measured = rollout.main(episodes=20, rounds=1)
    assert measured.pop("peers") == {}
    assert set(measured) == {"bare", "memory", "stored"}
    assert all(speed > 0 for speed in measured.values())
    err = capsys.readouterr().err
    assert "make peers" in err
    assert all(name in err for name in peers.CHAIN)


def test_a_peer_is_told_how_many_episodes_and_keeps_its_best_round(venvs, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    venvs("gem", f'echo "$@ [$PYTHONPATH]" >> {tmp_path}/calls; wc -l < {tmp_path}/calls')
    best = peers.play(peers.play(peers.installed(peers.CHAIN)))
    assert best == {"gem": 2.0}
    assert peers.play({"gem": 9.0}) == {"gem": 9.0}
    assert (tmp_path / "calls").read_text().splitlines()[0] == f"-m tests.benchmarks.peers.gem {peers.EPISODES['gem']} []"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 5; echo first >&2; echo wrong sum >&2; exit 3", "exit status 3: wrong sum"),
        ("exit 1", "exit status 1: no speed, no error"),
        ("echo fast", "exit status 0: no speed, no error"),
        ("true", "exit status 0: no speed, no error"),
        ("echo null; echo odd >&2", "exit status 0: odd"),
        ("sleep 60", "no end after 1 seconds"),
    ],
)
def test_a_peer_that_fails_is_named_and_left_out(script, why, venvs, monkeypatch, capsys):
    monkeypatch.setattr(peers, "LIMIT", 1.0)
    venvs("gem", script)
    venvs("verifiers", "echo 5.5")
    best = peers.play(peers.installed(peers.CHAIN))
    assert best == {"verifiers": 5.5}
    assert f"gem failed and is left out: {why}" in capsys.readouterr().err


@pytest.mark.parametrize("name", peers.EPISODES)
def test_an_installed_peer_plays_its_episodes(name, monkeypatch):
    if name not in peers.installed(peers.EPISODES):
        pytest.skip("make peers")
    if name in peers.WEB and not (shutil.which("chromedriver") and shutil.which("chromium-headless-shell")):
        pytest.skip("there is no chromedriver")
    monkeypatch.setitem(peers.EPISODES, name, 2 if name in peers.WEB else 20)
    assert peers.measure(name) > 0
