"""One sandbox of each kind for the attacks; each attack begins with a fresh state."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from agentgym.sandbox import MIB, Checkpoint, Limits, Sandbox, open_sandbox
from tests.docker_engine import DOCKER

LIMITS = Limits(seconds=2.0, memory=96 * MIB, processes=16, disk=8 * MIB, files=256, output=16 * 1024)
BRIEF = replace(LIMITS, seconds=0.8)  # for attacks that use up all the time there is


@pytest.fixture(scope="session", params=["local", pytest.param("docker", marks=DOCKER)])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "docker":
        request.getfixturevalue("engine")
    return str(request.param)


@pytest.fixture(scope="session")
def shared(kind: str) -> Iterator[Sandbox]:
    with open_sandbox(kind, LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.restore(Checkpoint())
    return shared


@pytest.fixture(scope="session")
def shared_brief(kind: str) -> Iterator[Sandbox]:
    with open_sandbox(kind, BRIEF) as sandbox:
        yield sandbox


@pytest.fixture
def brief(shared_brief: Sandbox) -> Sandbox:
    shared_brief.restore(Checkpoint())
    return shared_brief
