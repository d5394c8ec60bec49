"""An environment that an untrained nano policy can learn in seconds, and runs of it."""

import asyncio
from pathlib import Path

import pytest

import agentgym
from agentgym.cli.output import Output
from agentgym.env import Environment
from agentgym.sampling.transformers import TransformersSampler
from agentgym_training.rl.config import RL
from agentgym_training.rl.loop import Loop, open_transformers
from agentgym_trajectories.players import Deadlines, LocalPlayers
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.search import search_named

ENV = "test/Brief-v0"


class Brief(Environment):
    """Two turns; each earns the more the shorter it is, at most 0.5."""

    rubric = agentgym.Rubric(brief=1.0)
    max_turns = 2

    def tasks(self, split="train"):
        return agentgym.procedural(lambda rng: agentgym.Task(f"Say {rng.randrange(10**6)}.", difficulty="easy"), split)

    def begin(self, task):
        self.state = []
        return task.prompt

    def reply(self, message):
        self.state.append(0.5 / (1 + len(message.content) / 10))
        return "Go on."

    def shape(self):
        return {"brief": self.state[-1] if len(self.state) == self.turn else 0.0}


agentgym.register(ENV, Brief)


class Fixed(TransformersSampler):
    """Keeps its first weights, whatever is published."""

    async def publish(self, directory, version, probe):
        pass


def opening(name, model_dir):
    """The opener of a sampler: "transformers", or "fixed" with the weights in `model_dir` for good."""
    if name == "transformers":
        return open_transformers
    return lambda directory, version, config: Fixed(model_dir, max_tokens=config.max_tokens, version="weights-0")


QUICK = RL(method="grpo", updates=4, tasks=2, samples=4, lr=1e-3, max_tokens=6, pack=512)


@pytest.fixture
def train(nano_dir):
    """Train a nano policy: ``train(out, method="rloo", ...)``. Returns the loop, which has run."""

    def run(out: Path, *, resume: bool = False, opener=open_transformers, **changes) -> Loop:
        loop = Loop(ENV, {}, nano_dir, out, QUICK.model_copy(update=changes), Output(True), opener=opener)
        loop.result = loop.run(resume)
        return loop

    return run


def played(sampler, search=None):
    sink = Memory()

    async def go():
        program = {"program": search_named(search).play} if search else {}
        players = LocalPlayers(ENV, {}, sampler, Deadlines(), version="v", **program)
        await Rollout(ENV, samples=3, concurrency=6).play(agentgym.make(ENV).unwrapped.tasks()[:2], players, sink)
        await sampler.close()

    asyncio.run(go())
    return sorted(sink.episodes, key=lambda e: (e.task.id, e.sample))


@pytest.fixture(scope="session")
def chains(nano_dir):
    return played(TransformersSampler(nano_dir, max_tokens=5))


@pytest.fixture(scope="session")
def trees(nano_dir):
    return played(TransformersSampler(nano_dir, max_tokens=5), "tree-grpo")
