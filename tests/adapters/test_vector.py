"""Our environments in plain `gymnasium.vector`, in one process and in several."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import agentgym
from agentgym import Message


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("env", ["games/KeyDoor-v0", "desk/Orders-v0"])
def test_gold_episodes_are_played_side_by_side(env: str, mode: str) -> None:
    agentgym.specs()  # Gymnasium knows ours once somebody has asked for them
    kwargs: dict[str, Any] = {"shared_memory": False} if mode == "async" else {}
    made = gymnasium.make_vec(env, num_envs=3, vectorization_mode=mode, vector_kwargs=kwargs)
    try:
        assert made.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        observations, info = made.reset(seed=[1, 2, 3])
        first = list(info["task"])
        assert len(set(first)) == 3
        assert all(o.messages[-1].role == "user" for o in observations)
        ended, solved = np.zeros(3), np.zeros(3)
        for _ in range(30):
            actions: tuple[Message, ...] = made.call("oracle")
            observations, rewards, terminated, truncated, info = made.step(actions)
            ended += terminated
            solved += terminated * (rewards == 1.0) * info.get("success", np.zeros(3)).astype(bool)
            assert not truncated.any()
            if (ended >= 2).all():
                break
        assert (ended >= 2).all()  # a second episode began by itself
        assert (solved == ended).all()
        _, info = made.reset(seed=[1, 2, 3])
        assert list(info["task"]) == first
    finally:
        made.close()
