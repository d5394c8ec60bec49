"""Stages that judge and repeat: `eval`, `rounds`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field

from agentgym_training.files import write_json
from agentgym_training.rl.loop import held_out

from .base import RESERVED, Acting, Context, Named, Stage
from .data import Collect, Pairs, Select
from .train import Es, Preference, Reward, Rl, Sft


class Eval(Acting):
    """Measure policies on tasks that nothing was trained on, with the likeliest tokens.

    Attributes:
        policies: Names, or directories.
        split: Of the tasks.
        tasks: How many.
    """

    stage: Literal["eval"]
    policies: tuple[str, ...] = Field(("policy",), min_length=1)
    split: Literal["validation", "test"] = "test"
    tasks: int = Field(200, ge=1)

    def names(self) -> Iterator[Named]:
        """The policies."""
        yield from (("policy", "policies", name) for name in self.policies)

    def run(self, context: Context) -> dict[str, Any]:
        """Returns an evaluation of each by its name, under ``policies``."""
        env, env_args, limit = self.where(context.defaults)
        measured: dict[str, Any] = {}
        for policy in dict.fromkeys(map(context.policy, self.policies)):
            found = held_out(env, env_args, policy, self.tasks, limit, context.output, self.split)
            context.output.say(f"    {policy}: success {found.success:.1%} ({found.low:.1%} to {found.high:.1%}).")
            measured[str(policy)] = found.to_dict()
        return {"policies": {name: measured[str(context.policy(name))] for name in self.policies}}


def named(stages: Any) -> Any:
    """Gives a name to each stage that has none: that of its kind, numbered where there are several.

    Raises:
        ValueError: two have the same name, or one has a name that means something else.
    """
    if not isinstance(stages, list | tuple):
        return stages
    names = names_of(stages)
    for i, name in enumerate(names):
        if name in RESERVED or name in names[:i]:
            raise ValueError(f"{'two stages are' if name in names[:i] else 'no stage may be'} called {name!r}: give another name")
        if isinstance(stages[i], dict):
            stages[i].setdefault("name", name)
    return stages


def names_of(stages: Any) -> list[str]:
    """The names of stages as they are written in a recipe."""
    names: list[str] = []
    for stage in stages:
        about = stage if isinstance(stage, dict) else {}
        kind, count = str(about.get("stage", "")), 1
        name = wanted = str(about.get("name") or kind)
        while name in names and not about.get("name"):
            count += 1
            name = f"{wanted}-{count}"
        names.append(name)
    return names


Once = Annotated[Collect | Select | Pairs | Sft | Preference | Reward | Rl | Es | Eval, Discriminator("stage")]


class Rounds(Stage):
    """Repeat stages, each round with the policy that the one before made, and keep the best.

    All of a round lies in its folder ``round-N``. A round that finds nothing to learn from trains nothing.

    Attributes:
        times: Rounds at most.
        stages: Of each round.
        buffer: Rounds whose pairs, or trajectories, are trained on: this one and those before it.
        validation: Tasks by which rounds are judged.
        patience: Rounds without a better validation after which to stop.
    """

    makes: ClassVar[str] = "policy"
    stage: Literal["rounds"]
    times: int = Field(3, ge=1)
    stages: Annotated[tuple[Once, ...], BeforeValidator(named)] = Field(min_length=1)
    buffer: int = Field(1, ge=1)
    validation: int = Field(100, ge=1)
    patience: int = Field(2, ge=1)

    def names(self) -> Iterator[Named]:
        """The policy that the first round begins with."""
        yield "policy", "stages", "policy"

    def run(self, context: Context) -> dict[str, Any]:
        """Carry out all rounds.

        Returns:
            ``rounds`` (of each ``success`` on validation tasks, ``sampled_tokens``, its ``pairs`` and the own ``successes`` that
            are learnt from), ``start`` (success before), ``best`` (the round whose policy is kept), ``policy``, ``tasks``.
        """
        policies, rounds, best = [context.policy()], list[dict[str, Any]](), 0
        scores = [self._success(context, "start")]
        inner, folders = context, list[Path]()
        for number in range(context.number + 1, context.number + 1 + self.times):
            inner = inner.round(number, folders[-(self.buffer - 1) :] if self.buffer > 1 else [])
            found = self._round(inner)
            learnt = inner.policy() != policies[-1]
            scores.append(self._success(inner, "validation") if learnt else scores[-1])
            found["success"] = scores[-1]
            write_json(inner.folder / "round.json", found)
            rounds.append(found)
            policies.append(inner.policy())
            folders.append(inner.folder)
            tokens, counts = found["sampled_tokens"], f"{found['successes']} own successes and {found['pairs']} pairs"
            context.output.say(f"Round {number}: success {scores[-1]:.1%} on validation, {tokens:,} tokens, {counts}.")
            best = max(range(len(scores)), key=scores.__getitem__)
            if len(rounds) - best >= self.patience:
                context.output.say(f"No better validation for {self.patience} rounds: stopping.")
                break
        told = {"rounds": rounds, "start": scores[0], "best": best, "policy": context.kept(policies[best])}
        return told | {"tasks": inner.task - context.task}

    def _round(self, context: Context) -> dict[str, Any]:
        """Everything but the evaluation."""
        found = {"sampled_tokens": 0, "pairs": 0, "successes": 0}
        for stage in self.stages:
            done = context.do(stage)
            found = {key: count + done.get(key, 0) for key, count in found.items()}
        return found

    def _success(self, context: Context, name: str) -> float:
        """Of the policy, on validation tasks."""
        given, policy = context.defaults, context.policy()

        def measure() -> dict[str, Any]:
            limit, output = given.max_tokens, context.output
            return held_out(given.env, given.env_args, policy, self.validation, limit, output, "validation").to_dict()

        return float(context.once(context.folder / f"{name}.json", f"Evaluating {policy} (validation).", measure)["success"])
