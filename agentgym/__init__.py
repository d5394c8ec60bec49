"""AgentGym: environments, exact trajectories, tree search and training for language-model agents.

The core: messages, tools, environments, tokens, samplers. It imports neither torch nor vllm nor docker.
"""

from agentgym.async_env import AsyncEnvironment
from agentgym.env import Action, Environment, Label, Snapshot
from agentgym.errors import (
    AgentGymError,
    DeadlineFailure,
    EnvironmentFailure,
    ErrorCategory,
    Failure,
    RefusedFailure,
    SamplerFailure,
    StopReason,
    ToolError,
    UserError,
    WorkerFailure,
)
from agentgym.messages import Message, ToolCall, assistant, call, system, user
from agentgym.registry import make, register, specs
from agentgym.rewards import Rubric
from agentgym.spaces import Observation
from agentgym.tasks import SPLITS, Task, Tasks, levels_of, procedural
from agentgym.tools import Tool, ToolResult, ToolSet, tool

__version__ = "0.1.0"

__all__ = [
    "SPLITS",
    "Action",
    "AgentGymError",
    "AsyncEnvironment",
    "DeadlineFailure",
    "Environment",
    "EnvironmentFailure",
    "ErrorCategory",
    "Failure",
    "Label",
    "Message",
    "Observation",
    "RefusedFailure",
    "Rubric",
    "SamplerFailure",
    "Snapshot",
    "StopReason",
    "Task",
    "Tasks",
    "Tool",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "ToolSet",
    "UserError",
    "WorkerFailure",
    "assistant",
    "call",
    "levels_of",
    "make",
    "procedural",
    "register",
    "specs",
    "system",
    "tool",
    "user",
]
