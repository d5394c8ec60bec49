import pytest

from agentgym import make
from agentgym.tokens import Chat
from agentgym_training.nano import init_model
from agentgym_trajectories.tree import Episode, Trajectory


def oracle_episode(env, task) -> Episode:
    """What the environment's oracle does, as the tree keeps it."""
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
def demonstrations() -> list[Trajectory]:
    env = make("desk/Orders-v0").unwrapped
    return [t for task in env.tasks("train")[:60] for t in oracle_episode(env, task).trajectories()]


@pytest.fixture(scope="session")
def nano_dir(tmp_path_factory, demonstrations):
    """A nano policy that has learnt nothing yet; tests must not write here."""
    directory = tmp_path_factory.mktemp("nano")
    init_model([(t.messages, t.episode.tools) for t in demonstrations], directory, warmup_steps=2)
    return directory


@pytest.fixture(scope="session")
def nano_chat(nano_dir) -> Chat:
    from transformers import AutoTokenizer

    return Chat(AutoTokenizer.from_pretrained(nano_dir))
