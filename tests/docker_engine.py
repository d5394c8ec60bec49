"""A Docker Engine for tests: the one that is there, or one of our own in a folder, which leaves the machine's as it is."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCKER = pytest.mark.xdist_group("docker")  # one engine for all


def _answers(host: str) -> bool:
    import docker

    try:
        if host.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as tried:  # the SDK forgets to close one that does not connect
                tried.connect(host.removeprefix("unix://"))
        with contextlib.closing(docker.DockerClient(base_url=host)) as client:
            return bool(client.ping())
    except (OSError, docker.errors.DockerException):
        return False


@contextlib.contextmanager
def docker_engine() -> Iterator[str]:
    """``DOCKER_HOST`` of an Engine; skips the test without one, and fails it in continuous integration."""
    try:
        import docker  # noqa: F401
    except ImportError:
        _without("the docker SDK is not installed")
    usual = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if _answers(usual):
        yield usual
        return
    if os.geteuid() or not shutil.which("dockerd"):
        _without("there is no Docker Engine and no dockerd that can be started")
    folder = Path(tempfile.mkdtemp(prefix="agentgym-docker-"))
    try:
        with _started(folder) as host:
            yield host
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _without(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and continuous integration has to have one")
    pytest.skip(reason)


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[str]:
    """All state in `folder`, no network of its own, no rules in the machine's firewall."""
    host = f"unix://{folder}/docker.sock"
    places = {"host": host, "data-root": folder / "data", "exec-root": folder / "exec", "pidfile": folder / "docker.pid"}
    flags = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false"]
    command = ["dockerd", *(f"--{name}={value}" for name, value in places.items()), *flags]
    log = folder / "log"
    with log.open("wb") as out:
        engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while not _answers(host):
            if engine.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"dockerd did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield host
    finally:
        engine.terminate()
        try:
            engine.wait(30)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()


def nothing_is_left(host: str) -> None:
    """All containers of the tests end, soon after the last idle one is closed."""
    import docker

    from agentgym.sandbox.docker import LABEL, pool

    pool().close()
    with contextlib.closing(docker.DockerClient(base_url=host)) as client:
        until = time.monotonic() + 15
        while (left := client.api.containers(all=True, filters={"label": LABEL})) and time.monotonic() < until:
            time.sleep(0.05)
        assert not left
