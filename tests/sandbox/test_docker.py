"""Containers alone: the pool and its bound, orphans, hosts that die, engines that are not there."""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agentgym import EnvironmentFailure, UserError
from agentgym.sandbox import MIB, Limits, Result, open_sandbox
from tests.docker_engine import DOCKER
from tests.sandbox.conftest import LIMITS

pytestmark = DOCKER
OTHER = Limits(seconds=2.0, memory=64 * MIB)


@pytest.fixture
def client(engine: str) -> Iterator[Any]:
    import docker

    with contextlib.closing(docker.DockerClient(base_url=engine)) as made:
        yield made


@pytest.fixture
def pool(client: Any) -> Iterator[Any]:
    from agentgym.sandbox.docker import Pool

    made = Pool(client, most=2)
    yield made
    made.close()


def test_what_the_engine_is_asked_for(client: Any, engine: str) -> None:
    with open_sandbox("docker", LIMITS) as sandbox:
        sandbox.run(["true"])
        made = sandbox._link._api.inspect_container(sandbox._link._id)  # type: ignore[attr-defined]
    host, config = made["HostConfig"], made["Config"]
    assert host["NetworkMode"] == host["IpcMode"] == "none"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] == host["MemorySwap"] == LIMITS.memory + LIMITS.disk + 64 * MIB
    assert host["PidsLimit"] == LIMITS.processes + 4
    assert host["NanoCpus"] == 1_000_000_000
    assert not made["Mounts"]
    assert config["User"] == "61000:61000"
    assert not any("AGENTGYM" in e or "PYTHONPATH" in e for e in config["Env"] or ())


def test_the_pool_keeps_containers_warm_and_clean(pool: Any, client: Any) -> None:
    first = pool.take(LIMITS)
    identity = first._id
    first.exchange(_message("write", b"x", path="left"), 5)
    first.exchange(_message("execute", b"x = 1"), 5)
    pool.give(first)
    again = pool.take(LIMITS)
    assert again._id == identity
    assert json.loads(again.exchange(_message("run", command=["ls", "/work", "/tmp"]), 5)[4:])["output"] == "/tmp:\n\n/work:\n"
    assert b"NameError" in again.exchange(_message("execute", b"x"), 5)
    pool.give(again)


def _message(operation: str, content: bytes = b"", **header: Any) -> bytes:
    from agentgym.sandbox.guest.serve import packed

    return packed(header | {"do": operation}, content)


def test_the_pools_bound(pool: Any) -> None:
    one, two = pool.take(LIMITS), pool.take(LIMITS)
    with pytest.raises(EnvironmentFailure, match="all 2 containers are in use"):
        pool.take(LIMITS, wait=0.05)
    pool.give(one)
    other = pool.take(OTHER, wait=0.05)
    assert other._id not in (one._id, two._id)
    two.close()
    two.close()
    third = pool.take(OTHER, wait=0.05)
    for container in (other, third):
        container.close()


def test_a_container_that_dies(client: Any, engine: str) -> None:
    with open_sandbox("docker", LIMITS) as sandbox:
        sandbox.execute("x = 1")
        client.api.kill(sandbox._link._id)  # type: ignore[attr-defined]
        result = sandbox.run(["true"])
        assert result.exit_code == -9
        assert "the sandbox was ended" in result.output
        assert sandbox.run(["echo", "again"]) == Result(0, "again\n")
        client.api.kill(sandbox._link._id)  # type: ignore[attr-defined]
        with pytest.raises(EnvironmentFailure, match="the sandbox broke"):
            sandbox.read_file("x")


HOST = """
import sys
from agentgym.sandbox import open_sandbox
sandbox = open_sandbox("docker")
sandbox.execute("1")
print(sandbox._link._id, flush=True)
sys.stdin.read()
"""


def identities(client: Any) -> list[str]:
    return [c["Id"] for c in client.api.containers(all=True)]


@contextlib.contextmanager
def host_process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([sys.executable, "-c", HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        yield host, host.stdout.readline().strip()


def test_a_killed_host_leaves_no_container(client: Any, engine: str) -> None:
    with host_process() as (host, identity):
        assert identity in identities(client)
        host.send_signal(signal.SIGKILL)
    until = time.monotonic() + 15
    while identity in identities(client) and time.monotonic() < until:
        time.sleep(0.05)
    assert identity not in identities(client)


def test_orphans_are_found_by_their_label(client: Any, engine: str) -> None:
    from agentgym.sandbox import docker, image

    def left(owner: str) -> str:
        labels = {docker.LABEL: owner}
        made = client.api.create_container(
            image.ensure(client), ["/guest/bin/sleep", "1000"], labels=labels, network_disabled=True
        )
        return str(made["Id"])

    alive, gone = docker._owner(os.getpid()), docker._owner(os.getpid()).rpartition(":")[0] + ":12345"
    elsewhere = "another-boot:pid:[1]:1:1"
    kept, removed, other, odd = left(alive), left(gone), left(elsewhere), left("odd")
    assert docker.remove_orphans(client) == 1
    there = identities(client)
    assert removed not in there
    for identity in (kept, other, odd):
        assert identity in there
        client.api.remove_container(identity, force=True)


def test_without_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(UserError, match="no Docker Engine can be used"):
        open_sandbox("docker")
    gc.collect()
    with pytest.raises(UserError, match="there is no sandbox 'podman'"):
        open_sandbox("podman")
    monkeypatch.setitem(sys.modules, "agentgym.sandbox.docker", None)
    with pytest.raises(UserError, match=r"pip install 'agentgym\[docker\]'"):
        open_sandbox("docker")


def test_an_engine_that_makes_no_container(engine: str, pool: Any) -> None:
    with pytest.raises(EnvironmentFailure, match="the Engine makes no container"):
        pool.take(Limits(cpus=1e6), wait=0.05)
    pool._image = "no-such-image"
    with pytest.raises(EnvironmentFailure, match="the Engine makes no container"):
        pool.take(Limits(seconds=3), wait=0.05)
    assert pool._count == 0


def test_the_kernel_kills_a_job_before_the_guest() -> None:
    with open_sandbox("docker", LIMITS) as sandbox:
        score = sandbox.run(["python", "-c", "print(open('/proc/self/oom_score_adj').read())"])
    assert score.output.strip() == "1000"
