"""Prompts of our own in IFEval's format; each is proven to be satisfiable by an answer that the judge accepts."""

import random
from typing import get_args

import msgspec

from agentgym import Task
from agentgym_envs.instruct.constraints.base import compose
from agentgym_envs.instruct.ifeval.form import RepeatPrompt
from agentgym_envs.instruct.ifeval.judge import AnyInstruction
from agentgym_envs.instruct.ifeval.writer import gold
from agentgym_envs.instruct.tasks import LEVELS
from agentgym_envs.instruct.vocabulary import ADJECTIVES, REQUESTS, TOPICS

KINDS: tuple[type[AnyInstruction], ...] = get_args(AnyInstruction)


def make_task(rng: random.Random, level: str) -> Task:
    """A task of a level, drawn until the oracle solves it: some instructions leave no room for each other."""
    while True:
        chosen = compose(rng, LEVELS[level], KINDS)
        if gold(chosen) is not None:
            return _task(rng, level, chosen)


def _task(rng: random.Random, level: str, chosen: list[AnyInstruction]) -> Task:
    request = rng.choice(REQUESTS).format(topic=f"{rng.choice(ADJECTIVES)} {rng.choice(TOPICS)}")
    for instruction in chosen:
        if isinstance(instruction, RepeatPrompt):
            request = instruction.prompt_to_repeat
    arguments = [{k: v for k, v in msgspec.to_builtins(c).items() if k != "kind"} for c in chosen]
    data = {"request": request, "instruction_id_list": [c.kind for c in chosen], "kwargs": arguments}
    return Task(" ".join([request, *(c.sentence(rng) for c in chosen)]), data, difficulty=level)
