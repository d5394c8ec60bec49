"""Policies that are programs: the environment's oracle, a replay, a person, a test."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentgym.errors import UserError
from agentgym.fuzz import random_action
from agentgym.messages import Message, assistant
from agentgym.sampling.base import Sample, SampleRequest, Usage

Policy = Callable[[SampleRequest], Message | str]


class Scripted:
    """A sampler without tokens that asks `policy` for each turn.

    Args:
        policy: From a request to the assistant's message; a string is an answer without tool calls.
        version: Names the policy in the records.
    """

    chat = None
    context = None

    def __init__(self, policy: Policy, version: str = "scripted") -> None:
        self._policy = policy
        self.version = version
        self.usage = Usage()

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """Ask the policy, one request after the other."""
        self.usage.requests += len(requests)
        return [self._one(r) for r in requests]

    async def close(self) -> None:
        """Nothing is held."""

    def _one(self, request: SampleRequest) -> Sample:
        turn = self._policy(request)
        return Sample(assistant(turn) if isinstance(turn, str) else turn, version=self.version)


def oracle() -> Scripted:
    """Each environment's own gold policy.

    Raises:
        UserError: (when sampling) the environment has none.
    """

    def policy(request: SampleRequest) -> Message:
        turn: Message | None = request.env.oracle()
        if turn is None:
            raise UserError(f"{type(request.env).__name__} has no oracle: sample from a model instead")
        return turn

    return Scripted(policy, "oracle")


def wanderer() -> Scripted:
    """Somebody without an aim: whatever `Environment.explore` says, or any call that fits the tools."""

    def policy(request: SampleRequest) -> Message:
        rng = random.Random(request.seed)
        return request.env.explore(rng) or random_action(request.tools, rng)

    return Scripted(policy, "random")


def replay(turns: Mapping[str, Sequence[Message]]) -> Scripted:
    """Recorded turns again, by task id; which turn it is follows from the conversation, so that retries start afresh.

    Raises:
        UserError: (when sampling) no turn is recorded for this point.
    """

    def policy(request: SampleRequest) -> Message:
        task: Any = request.env.task.id
        done = sum(m.role == "assistant" for m in request.messages)
        if task not in turns or done >= len(turns[task]):
            raise UserError(f"nothing is recorded for task {task!r} after turn {done}: record it again, or choose other tasks")
        return turns[task][done]

    return Scripted(policy, "replay")
