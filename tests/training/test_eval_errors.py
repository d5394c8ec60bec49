"""Every kind of mistake is made through a real action of a real environment, and counted by `agentgym eval`."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from agentgym import ErrorCategory, Message, ToolCall, assistant, call
from agentgym.cli.main import build_app
from agentgym.dialects.hermes import HERMES
from agentgym.sampling import SampleRequest, Scripted


def mistakes(env: Any) -> dict[ErrorCategory, Message]:
    """An action for each category, for the tools of the current task."""
    name, right = env.words.tools["get"], env.words.parameters["get"]["id"]
    known = next(iter(env.state.world.records))
    return {
        ErrorCategory.BAD_FORMAT: HERMES.parse("<think>What now"),
        ErrorCategory.MALFORMED_JSON: HERMES.parse('<tool_call>\n{"name": "x", "arguments": {\n</tool_call>'),
        ErrorCategory.UNKNOWN_TOOL: assistant("", call("no_such_tool")),
        ErrorCategory.MISSING_ARGUMENT: assistant("", call(name)),
        ErrorCategory.EXTRA_ARGUMENT: assistant("", ToolCall(name, {right: known, "extra": 1})),
        ErrorCategory.ILL_TYPED_ARGUMENT: assistant("", ToolCall(name, {right: 5})),
        ErrorCategory.TOOL_ERROR: assistant("", ToolCall(name, {right: "X0"})),
        ErrorCategory.TOO_MANY_CALLS: assistant("", *[ToolCall(name, {right: known})] * 9),
    }


def test_every_category_occurs_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def policy(request: SampleRequest) -> Message:
        made = mistakes(request.env)
        assert set(made) == set(ErrorCategory)
        turn = request.env.turn
        return list(made.values())[turn] if turn < len(made) else assistant("That is all.")

    monkeypatch.setattr("agentgym_training.cli.open_sampler", lambda *_, **__: Scripted(policy))
    arguments = ["--env", "tools/Synth-v0", "--env-arg", "level=easy", "--policy", "clumsy", "--tasks", "3", "--json"]
    result = CliRunner().invoke(build_app(), ["eval", *arguments])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output.splitlines()[-1])
    assert found["errors"] == {str(category): 1.0 for category in ErrorCategory}
    assert found["success"] == 0.0
