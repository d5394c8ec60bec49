"""Stages that train: `init`, `warmup`, `sft`, `preference`, `reward`, `rl`, `es`."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, field_validator, model_validator

from agentgym import UserError
from agentgym.sampling import oracle
from agentgym.sampling.transformers import load_tokenizer
from agentgym_training import preference, reward_model, sft
from agentgym_training.nano import Dialogue, init_model
from agentgym_training.objectives import parse
from agentgym_training.rl.config import RL
from agentgym_training.rl.es import ES, Evolution
from agentgym_training.rl.loop import SAMPLERS, Loop
from agentgym_training.rl.rewards import rewards_named
from agentgym_training.rows import pair_rows, training_rows, unpaired_rows
from agentgym_trajectories import select as selecting
from agentgym_trajectories.cli import choose_tasks
from agentgym_trajectories.rollout import Rollout
from agentgym_trajectories.store import FILE, Store
from agentgym_trajectories.tree import Trajectory

from .base import CONCURRENCY, Acting, Context, Learning, Named, Stage, Strict, in_braces, located, seeded
from .data import play_tasks

NOTHING_NEW = {"skipped": "this round found nothing new to learn from"}


class Located(Strict):
    """Tells with its place what an underlying configuration refuses."""

    @field_validator("objectives", "loss", "method", mode="wrap", check_fields=False)
    @classmethod
    def _tells_key(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        with located():
            return handler(given)

    @model_validator(mode="wrap")
    @classmethod
    def _tells(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        with located():
            return handler(given)


class Init(Stage):
    """Make a base from nothing, of all episodes collected so far: a tokenizer, and fresh weights that learn to copy.

    Attributes:
        copy_steps: Of the copy warm-up.
    """

    makes: ClassVar[str] = "policy"
    stage: Literal["init"]
    copy_steps: int = Field(600, ge=1)

    def run(self, context: Context) -> dict[str, Any]:
        """Returns what `init_model` does."""
        out = context.folder / self.name
        found: list[Dialogue] = []
        for file in sorted(f for depth in ("", "*/") for f in context.folder.glob(depth + FILE)):
            with Store(file) as store:
                found += [(t.messages, t.episode.tools) for t in store.trajectories() if t.success]
        if not found:
            raise UserError(f"{self.name} learns words from episodes that succeeded, and there are none: collect some before it")
        made = init_model(found, out, seed=context.defaults.seed, warmup_steps=self.copy_steps)
        return {"policy": context.kept(out), **made}


class WarmSft(Located, sft.Sft):
    """How the policy of a warm-up is trained."""


class Easier(Strict):
    """A step of an easy-to-hard warm-up.

    Attributes:
        env_args: Of an easier variant of the environment.
        tasks: Training tasks that the oracle plays in it.
    """

    env_args: dict[str, Any]
    tasks: int = Field(2000, ge=1)


class WarmUp(Stage):
    """Make a policy from nothing: oracle episodes, a tokenizer, fresh weights that learn to copy, supervised fine-tuning.

    Attributes:
        easier: Variants that it is shown too, so that few tasks of the environment itself are enough to begin with.
        tasks: Training tasks that the oracle plays for it.
        copy_steps: Of the copy warm-up.
        sft: How it is trained; stop it early, so that something is left to learn.
    """

    makes: ClassVar[str] = "policy"
    stage: Literal["warmup"]
    easier: tuple[Easier, ...] = ()
    tasks: int = Field(2000, ge=1)
    copy_steps: int = Field(600, ge=1)
    sft: WarmSft = WarmSft(max_steps=600, lr=3e-3)

    def run(self, context: Context) -> dict[str, Any]:
        """Returns what the training measured."""
        folder, given = context.folder / self.name, context.defaults
        with Store(folder, create=True) as store:
            for easier in (*self.easier, Easier(env_args=given.env_args, tasks=self.tasks)):
                tasks = choose_tasks(given.env, easier.env_args, "train", context.offset, easier.tasks)
                plan = Rollout(given.env, easier.env_args, 1, given.seed, CONCURRENCY)
                play_tasks(context, plan, tasks, oracle(), store)
            gold = [t for t in store.trajectories() if t.success]
        dialogues = [(t.messages, t.episode.tools) for t in gold]
        init_model(dialogues, folder / "base", seed=given.seed, warmup_steps=self.copy_steps)
        rows = training_rows(gold, load_tokenizer(folder / "base"), None, parse(self.sft.objectives))
        config = seeded(sft.Sft, self.sft, context)
        measured = sft.train_sft(folder / "base", rows, folder / "policy", config, resume=True)
        return {"policy": context.kept(folder / "policy"), "tasks": self.tasks, **measured}


class Sft(Learning, Located, sft.Sft):
    """Fine-tune the policy on a selection, or on its own trajectories that succeeded (rejection sampling), each once.

    Attributes:
        selection: Name of a stage `select`; by default own trajectories.
        failures: Whether own trajectories that failed are given too, to objectives that learn from both.
    """

    stage: Literal["sft"]
    selection: str | None = None
    failures: bool = False

    def names(self) -> Iterator[Named]:
        """The model, the selection, and directories in braces."""
        yield from super().names()
        if self.selection is not None:
            yield "selection", "selection", self.selection
        yield from in_braces("objectives", self.objectives)

    def run(self, context: Context) -> dict[str, Any]:
        """Returns what the training measured, and how many ``successes`` of this round it learnt from."""
        policy, out = context.policy(self.model), context.folder / self.name
        objectives = parse(context.fill(self.objectives))
        with context.stores(self.store) as stores:
            new = sum(1 for _ in self._trajectories(stores[-1:]))
            rows = training_rows(self._trajectories(stores), load_tokenizer(policy), None, objectives)
        context.found[self.name] = new
        found = {"successes": new, "found": {self.name: new}}
        if context.nothing_new(rows):
            return NOTHING_NEW | found
        config = seeded(sft.Sft, self, context, objectives=tuple(context.fill(self.objectives)))
        measured = sft.train_sft(policy, rows, out, config, resume=True)
        return {"policy": context.kept(out), **found, **measured}

    def _trajectories(self, stores: Iterable[Store]) -> Iterator[Trajectory]:
        if self.selection is not None:
            return itertools.chain.from_iterable(store.trajectories(self.selection) for store in stores)
        played = (t for store in stores for t in store.trajectories() if t.episode.version != "oracle")
        own = (t for t in played if t.success or self.failures)
        return (t for t, reason in selecting.apply(own, [selecting.Duplicates()]) if not reason)


class Preference(Learning, Located, preference.Preference):
    """Train the policy on pairs.

    Attributes:
        pairs: Name of a stage `pairs`; None for KTO on trajectories that nobody paired.
        reference: "logged" (what was written down while acting), "initial" (the policy that this training begins with), or the
            name of a policy: "previous" (with which the round began), "first", a stage; or a model directory.
    """

    stage: Literal["preference"]
    pairs: str | None = "pairs"

    @model_validator(mode="after")
    def _are_paired(self) -> "Preference":
        if self.pairs is None and self.loss != "kto":
            raise ValueError(f"{self.loss} compares two sides of a task: name the stage that makes pairs, or use loss kto")
        return self

    def names(self) -> Iterator[Named]:
        """The model, the pairs, and the reference."""
        yield from super().names()
        if self.pairs is not None:
            yield "pairs", "pairs", self.pairs
        if self.reference not in ("logged", "initial"):
            yield "policy", "reference", self.reference

    def run(self, context: Context) -> dict[str, Any]:
        """Returns what the training measured."""
        policy, out = context.policy(self.model), context.folder / self.name
        tokenizer, seed = load_tokenizer(policy), context.defaults.seed + context.number + self.seed
        with context.stores(self.store) as stores:
            if self.pairs is None:
                rows = unpaired_rows((t for s in stores for t in s.trajectories()), tokenizer, None, seed)
            else:
                rows = pair_rows(paired(context, stores, self.pairs), tokenizer)
        if context.nothing_new(rows):
            return NOTHING_NEW
        reference = self.reference
        if reference not in ("logged", "initial"):
            known = context.policy(reference)
            reference = "initial" if known == policy else str(known)
        config = seeded(preference.Preference, self, context, reference=reference)
        return {"policy": context.kept(out), **preference.train_preference(policy, rows, out, config, resume=True)}


class Reward(Learning, Located, reward_model.RewardModelling):
    """Train a reward model, named as the stage: ``model:{reward}`` among the rewards of a stage `rl`.

    Attributes:
        pairs: Name of a stage `pairs`.
        attributes: Instead of pairs: parts of the rubric to foretell, each with its weight in the reward.
    """

    makes: ClassVar[str] = "model"
    stage: Literal["reward"]
    pairs: str = "pairs"
    attributes: dict[str, float] = Field(default_factory=dict)

    def names(self) -> Iterator[Named]:
        """The model, and the pairs."""
        yield from super().names()
        if not self.attributes:
            yield "pairs", "pairs", self.pairs

    def run(self, context: Context) -> dict[str, Any]:
        """Returns what the training measured."""
        model, out = context.policy(self.model), context.folder / self.name
        config = seeded(reward_model.RewardModelling, self, context)
        tokenizer = load_tokenizer(model)
        with context.stores(self.store) as stores:
            if self.attributes:
                rated = reward_model.rated_rows((t for s in stores for t in s.trajectories()), tokenizer, self.attributes)
            else:
                pairs = pair_rows(paired(context, stores, self.pairs), tokenizer)
        if self.attributes:
            measured = reward_model.train_attribute_model(model, rated, out, config, self.attributes, resume=True)
        else:
            measured = reward_model.train_reward_model(model, pairs, out, config, resume=True)
        return {"model": context.kept(out), **measured}


class Rl(Learning, Acting, Located, RL):
    """Train the policy by what it earns.

    Attributes:
        rewards: As `agentgym train rl --reward` takes them; by default the environment's own.
        sampler: Who writes the episodes.
        reference: Names or directories of the policies from which it is kept near.
    """

    stage: Literal["rl"]
    rewards: tuple[str, ...] = ()
    sampler: Literal["transformers", "vllm"] = "transformers"
    reference: tuple[str, ...] = ()  # type: ignore[assignment]
    max_tokens: int | None = Field(None, ge=1)  # type: ignore[assignment]

    def names(self) -> Iterator[Named]:
        """The model, the references, and directories in braces."""
        yield from super().names()
        yield from (("policy", "reference", name) for name in self.reference)
        yield from in_braces("rewards", self.rewards)

    def run(self, context: Context) -> dict[str, Any]:
        """Returns what the last update measured, and ``sampled_tokens``."""
        env, env_args, limit = self.where(context.defaults)
        out = context.folder / self.name
        reference = tuple(context.policy(name).resolve() for name in self.reference)
        start = context.task + self.start
        config = seeded(RL, self, context, max_tokens=limit, reference=reference, start=start)
        rewards = rewards_named(context.fill(self.rewards))
        model = context.policy(self.model)
        loop = Loop(env, env_args, model, out, config, context.output, rewards, SAMPLERS[self.sampler])
        played = self.start + self.updates * self.tasks * (1 + self.refill)
        return {"policy": context.kept(out), "tasks": played, **loop.run(resume=True)}


class Es(Learning, Acting, Located, ES):
    """Train the policy by evolution strategies.

    Attributes:
        rewards: As for a stage `rl`, without a judge or a reward model.
    """

    stage: Literal["es"]
    rewards: tuple[str, ...] = ()
    max_tokens: int | None = Field(None, ge=1)  # type: ignore[assignment]

    def run(self, context: Context) -> dict[str, Any]:
        """Returns ``reward`` of the last generation and ``sampled_tokens``."""
        env, env_args, limit = self.where(context.defaults)
        out, rewards = context.folder / self.name, rewards_named(context.fill(self.rewards))
        config = seeded(ES, self, context, max_tokens=limit, start=context.task + self.start)
        evolution = Evolution(env, env_args, context.policy(self.model), out, config, context.output, rewards)
        return {"policy": context.kept(out), "tasks": self.start + self.updates * self.tasks, **evolution.run(resume=True)}


def paired(context: Context, stores: Sequence[Store], name: str) -> Iterator[Any]:
    """The pairs of this name in all stores; a round need not have found any."""
    for store in stores:
        if context.folder == context.out or store.query("SELECT 1 FROM pairs WHERE name = ? LIMIT 1", name):
            yield from store.pairs(name)
