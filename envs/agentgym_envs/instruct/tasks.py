"""Instructions composed of constraints; each one is proven to be satisfiable by an answer that the judge accepts."""

import random

import msgspec

from agentgym import Task
from agentgym_envs.instruct.constraints import KINDS
from agentgym_envs.instruct.constraints.base import compose
from agentgym_envs.instruct.judge import Instruction
from agentgym_envs.instruct.vocabulary import ADJECTIVES, CLOSINGS, REQUESTS, TOPICS
from agentgym_envs.instruct.writer import gold

LEVELS = {"easy": 1, "medium": 2, "hard": 3}  # how many constraints


def make_task(rng: random.Random, level: str) -> Task:
    """A task of a level, drawn until the oracle solves it: some parameters leave no room for each other."""
    while True:
        task = _draw(rng, level)
        if gold(task) is not None:
            return task


def _draw(rng: random.Random, level: str) -> Task:
    adjective, noun = rng.choice(ADJECTIVES), rng.choice(TOPICS)
    constraints = compose(rng, LEVELS[level], KINDS)
    request = rng.choice(REQUESTS).format(topic=f"{adjective} {noun}")
    closing = rng.choice(CLOSINGS).format(noun=noun)
    prompt = " ".join([request, *(c.sentence(rng) for c in constraints), closing])
    return Task(prompt, msgspec.to_builtins(Instruction(adjective, noun, constraints)), difficulty=level)
