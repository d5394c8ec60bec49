"""What all tests share. The variables are set before torch is imported: the suite runs on all cores, one process each."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.docker_engine import docker_engine, nothing_is_left

if TYPE_CHECKING:
    from agentgym_trajectories.tree import Episode, Trajectory

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def oracle_episode(env: Any, task: Any) -> "Episode":
    """What the environment's oracle does, as the tree keeps it."""
    from agentgym_trajectories.tree import Episode

    observation, _ = env.reset(options={"task": task})
    episode = Episode("desk/Orders-v0", task, 0, "oracle", tools=observation.tools)
    parent, ended = -1, False
    while not ended:
        parent = episode.add(parent, "observation", observation.messages).id
        action = env.oracle()
        observation, reward, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
        parent = episode.add(parent, "action", (action,), reward=reward, success=info.get("success")).id
    return episode


@pytest.fixture(scope="session")
def demonstrations() -> "list[Trajectory]":
    from agentgym import make

    env = make("desk/Orders-v0").unwrapped
    return [t for task in env.tasks("train")[:60] for t in oracle_episode(env, task).trajectories()]


@pytest.fixture(scope="session")
def nano_dir(tmp_path_factory: pytest.TempPathFactory, demonstrations: "list[Trajectory]") -> Path:
    """A nano policy that has learnt nothing yet; tests must not write here."""
    from agentgym_training.nano import init_model

    directory = tmp_path_factory.mktemp("nano")
    init_model([(t.messages, t.episode.tools) for t in demonstrations], directory, warmup_steps=2)
    return directory


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """An Engine that the sandboxes of this process use."""
    before = os.environ.get("DOCKER_HOST")
    with docker_engine() as host:
        os.environ["DOCKER_HOST"] = host
        yield host
        nothing_is_left(host)
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before
