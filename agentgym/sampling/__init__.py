"""Samplers: whatever writes the agent's next turn. Import the one you need; each brings only its own dependencies."""

from agentgym.sampling.base import Sample, Sampler, SampleRequest, Usage
from agentgym.sampling.scripted import Scripted, oracle, replay, wanderer

__all__ = ["Sample", "SampleRequest", "Sampler", "Scripted", "Usage", "oracle", "replay", "wanderer"]
