"""Shipped recipes at a size of seconds, by nothing but ``--set``."""

from agentgym_training.recipe import load_recipe
from agentgym_training.stages import Rounds, WarmUp

SMALL = {
    "tasks": 3,
    "samples": 2,
    "copy_steps": 2,
    "max_steps": 2,
    "batch_size": 2,
    "updates": 2,
    "times": 1,
    "validation": 2,
}
KINDS = {"eval": {"tasks": 2}, "es": {"pairs": 1}, "rl": {"steps": 1}}
# A policy that knows nothing solves nothing: what is learnt from comes from demonstrations, or failed.
LESS = {
    "agent-q": ["rounds.pairs.by=[spin, distinct]", "rounds.preference.reference=previous"],
    "alignment": ["select.by=[duplicates]"],
    "itool": ["rounds.pairs.by=[spin, distinct]"],
    "mcts-dpo": ["rounds.pairs.by=[spin, distinct]", "rounds.collect.samples=1"],
    "nnetnav": ["collect.tasks=60"],
    "spin": ["rounds.collect.samples=1"],
}


def tiny(name: str) -> list[str]:
    """What to set."""
    recipe, changes = load_recipe(name), ["max_tokens=8"]
    for stage in recipe.stages:
        changes += _smaller(stage.name, stage)
        if isinstance(stage, Rounds):
            changes += [change for inner in stage.stages for change in _smaller(f"{stage.name}.{inner.name}", inner)]
        if isinstance(stage, WarmUp):
            changes += ["warmup.easier=[]", "warmup.tasks=10", "warmup.sft.max_steps=2", "warmup.sft.batch_size=2"]
    return [*changes, *LESS.get(name, [])]


def _smaller(address, stage) -> list[str]:
    small = {key: value for key, value in SMALL.items() if key in type(stage).model_fields} | KINDS.get(stage.stage, {})
    if getattr(stage, "search", None):
        small |= {"search.simulations": 3}
    if stage.stage == "collect" and stage.policy == "policy":
        small |= {"demonstrations": "true"}
    if stage.stage == "sft" and stage.selection is None:
        small |= {"failures": "true"}
    return [f"{address}.{key}={value}" for key, value in small.items()]
