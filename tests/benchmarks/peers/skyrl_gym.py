"""SkyRL-gym (`skyrl-gym`): a `BaseTextEnv` with a tool group, made anew for each episode, as SkyRL's generator does.

Keeps nothing: an observation is a list of messages that the caller would add to its own.
"""

import json
import re
from typing import Any

import skyrl_gym
from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput
from skyrl_gym.tools.core import ToolGroup, tool

from tests.benchmarks.chain import INSTRUCTIONS, PROMPT, SUM, report, text

MESSAGES = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": PROMPT}]


class Adding(ToolGroup):
    """One tool."""

    def __init__(self) -> None:
        super().__init__(name="Adding")

    @tool
    def add(self, a: int, b: int) -> str:
        return str(a + b)


class AddChain(BaseTextEnv):
    """Parses a call out of the text and runs it; text without a call is the answer."""

    def __init__(self, env_config: dict[str, Any], extras: dict[str, Any]) -> None:
        super().__init__()
        self.truth = extras["reward_spec"]["ground_truth"]
        self.max_turns = extras["max_turns"]
        self.init_tool_groups([Adding()])

    def step(self, action: str) -> BaseTextEnvStepOutput:
        self.turns += 1
        match = re.search(r"<tool_call>(.*?)</tool_call>", action, re.DOTALL)
        if not match or self.turns >= self.max_turns:
            return BaseTextEnvStepOutput(observations=[], reward=float(action == self.truth), done=True, metadata={})
        request = json.loads(match.group(1))
        group, values = self.tool_to_toolgroup[request["name"]], list(request["arguments"].values())
        result = self._execute_tool(group, request["name"], values)
        return BaseTextEnvStepOutput(observations=[{"role": "user", "content": result}], reward=0.0, done=False, metadata={})


def run(episodes: int) -> None:
    for _ in range(episodes):
        extras = {"reward_spec": {"ground_truth": SUM}, "max_turns": 10}
        env = skyrl_gym.make("bench/AddChain-v0", env_config={}, extras=extras)
        messages, _ = env.init(MESSAGES)
        turn, done = 0, False
        while not done:
            output = env.step(text(turn, messages[-1]["content"]))
            turn, done, messages = turn + 1, output["done"], output["observations"]
        env.close()
        assert (turn, output["reward"]) == (6, 1.0)


if __name__ == "__main__":
    skyrl_gym.register("bench/AddChain-v0", AddChain)
    report(run)
