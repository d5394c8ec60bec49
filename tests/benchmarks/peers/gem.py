"""gem (`gem-llm`): an `Env` in a `ToolEnvWrapper` with one tool, reset for each episode.

Keeps nothing: an observation is a string, the wrapper counts tool uses. Messages would be the caller's to keep.
"""

import json
import re
from typing import Any

import gem
from gem.tools.base_tool import BaseTool
from gem.tools.tool_env_wrapper import ToolEnvWrapper

from tests.benchmarks.chain import INSTRUCTIONS, PROMPT, SUM, report, text


class AddTool(BaseTool):
    """Finds its call in the text, as gem's own tools do."""

    tool_type = "add"

    def instruction_string(self) -> str:
        return INSTRUCTIONS

    def execute_action(self, action: str) -> tuple[bool, bool, str, str]:
        match = re.search(r"<tool_call>(.*?)</tool_call>", action, re.DOTALL)
        if not match:
            return False, True, "", ""
        request = json.loads(match.group(1))
        return True, False, str(request["arguments"]["a"] + request["arguments"]["b"]), action[: match.end()]


class AddChain(gem.Env):
    """The question and the reward; the wrapper answers the calls."""

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed)
        return PROMPT, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "", float(action == SUM), True, False, {}


def run(episodes: int) -> None:
    env = ToolEnvWrapper(gem.make("bench/AddChain-v0"), tools=[AddTool()])
    for _ in range(episodes):
        seen, _ = env.reset()
        turn, done = 0, False
        while not done:
            seen, reward, terminated, truncated, _ = env.step(text(turn, seen))
            turn, done = turn + 1, terminated or truncated
        assert (turn, reward) == (6, 1.0)


if __name__ == "__main__":
    gem.register("bench/AddChain-v0", AddChain)
    report(run)
