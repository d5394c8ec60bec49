"""Stages that make and choose data: `collect`, `select`, `pairs`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from agentgym import Tasks
from agentgym.sampling import oracle
from agentgym.sampling.base import Sampler
from agentgym.sampling.named import open_sampler
from agentgym_trajectories import pairs as pairing
from agentgym_trajectories import select as selecting
from agentgym_trajectories.cli import choose_tasks, play_all, playing
from agentgym_trajectories.episode import play
from agentgym_trajectories.hindsight import Asked, Hindsight, Rules, explorations
from agentgym_trajectories.players import LocalPlayers, Program
from agentgym_trajectories.programs import program_named
from agentgym_trajectories.rollout import Rollout
from agentgym_trajectories.search import Search, search_named
from agentgym_trajectories.store import Store

from .base import CONCURRENCY, Acting, Context, Named, Stage, Strict, in_braces, located


class Searching(Strict):
    """How deficient tasks are searched.

    Attributes:
        name: Of a search.
        simulations: For each tree.
        width: Actions sampled for each state; None for the search's own number.
        critic: Whether the policy ranks its own actions; a nano policy cannot.
    """

    name: str = "agent-q"
    simulations: int = Field(16, ge=1)
    width: int | None = Field(None, ge=1)
    critic: bool = True

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        with located():
            search_named(name)
        return name

    def build(self) -> Search:
        """The search."""
        named = search_named(self.name).with_simulations(self.simulations)
        return replace(named, width=self.width or named.width, ranking=named.ranking if self.critic else None)


class Collect(Acting):
    """Play new training tasks.

    Attributes:
        policy: Name of a policy, or whatever `agentgym collect --policy` takes.
        tasks: How many.
        demonstrations: Whether the oracle plays them too: experts for ETO and SPIN.
        samples: Attempts at each.
        temperature: Of sampling, instead of the recipe's.
        deficient: Tasks are searched whose mean success is below this; all of them without `samples`.
        search: How; None for no search.
        program: Play in several roles or tries.
        hindsight: Explore, and name it afterwards: by the environment's rules, or by the policy itself.
    """

    stage: Literal["collect"]
    policy: str = "policy"
    tasks: int = Field(100, ge=1)
    demonstrations: bool = False
    samples: int = Field(4, ge=0)
    temperature: float | None = Field(None, ge=0)
    deficient: float = Field(1.0, gt=0)
    search: Searching | None = None
    program: str | None = None
    hindsight: Literal["rules", "policy"] | None = None

    @field_validator("program")
    @classmethod
    def _exists(cls, program: str | None) -> str | None:
        with located():
            if program is not None:
                program_named(program)
        return program

    @model_validator(mode="after")
    def _explores_alone(self) -> "Collect":
        if self.hindsight and (self.program or self.search or self.demonstrations):
            raise ValueError("hindsight explores by itself: leave program, search and demonstrations out")
        return self

    def names(self) -> Iterator[Named]:
        """The policy, where it is one of the recipe's; samplers have names of their own."""
        if self.policy in ("policy", "first", "previous"):
            yield "policy", "policy", self.policy
        yield from in_braces("policy", [self.policy])

    def told(self, found: dict[str, Any]) -> str:
        """How well they were played."""
        success = found["success"]
        return "" if success is None else f"success {success:.1%} of {found['tasks']} tasks, {found['sampled_tokens']:,} tokens"

    def run(self, context: Context) -> dict[str, Any]:
        """Demonstrations, attempts, trees.

        Returns:
            ``sampled_tokens`` of all that policies wrote, ``success`` of the attempts (of the trees without any), ``tasks``.
        """
        env, env_args, _ = self.where(context.defaults)
        tasks = choose_tasks(env, env_args, "train", context.offset, self.tasks)
        plan, versions = Rollout(env, env_args, 1, context.defaults.seed, CONCURRENCY), list[str]()
        with Store(context.folder / self.store, create=True) as store:
            if self.demonstrations:
                play_tasks(context, plan, tasks, oracle(), store)
            if self.samples:
                versions.append(self._attempts(context, replace(plan, samples=self.samples), tasks, store))
            if self.search is not None:
                versions.append(self._trees(context, plan, tasks, store, self.search, versions))
            totals = [store.totals(env, env_args, version) for version in versions]
        success = totals[0]["success"] if totals else None
        return {"sampled_tokens": sum(t["tokens"] or 0 for t in totals), "success": success, "tasks": self.tasks}

    def _attempts(self, context: Context, plan: Rollout, tasks: Tasks, store: Store) -> str:
        """Returns the version of who played."""
        sampler = self._sampler(context)
        program, version = playing(sampler, None, None, self.program)
        if self.hindsight is not None:
            naming = Hindsight(Rules() if self.hindsight == "rules" else Asked())
            program, version, tasks = naming.play, naming.version(sampler.version), explorations(tasks)
        play_tasks(context, plan, tasks, sampler, store, program, version)
        return version

    def _trees(self, context: Context, plan: Rollout, tasks: Tasks, store: Store, how: Searching, versions: Sequence[str]) -> str:
        """Trees for the tasks that the policy does not solve every time. Returns the version of who searched."""
        sampler, search = self._sampler(context), how.build()
        if versions:
            solved = store.query("SELECT task, avg(success) FROM episodes WHERE version = ? GROUP BY task", versions[0])
            weak = {task for task, success in solved if success < self.deficient}
            tasks = Tasks.of(t for t in tasks if t.id in weak)
        version = search.version(sampler.version)
        play_tasks(context, plan, tasks, sampler, store, search.play, version)
        return version

    def _sampler(self, context: Context) -> Sampler:
        named = self.policy in ("policy", *context.policies)
        policy = str(context.policy(self.policy)) if named else context.fill([self.policy])[0]
        heat = context.defaults.temperature if self.temperature is None else self.temperature
        return open_sampler(policy, temperature=heat, max_tokens=self.where(context.defaults)[2], batch=CONCURRENCY)


def play_tasks(
    context: Context, plan: Rollout, tasks: Tasks, sampler: Sampler, store: Store, program: Program = play, version: str = ""
) -> None:
    """Play tasks into a store.

    Raises:
        KeyboardInterrupt: not all were played; what was is kept.
    """
    players = LocalPlayers(plan.env, plan.env_args, sampler, plan.deadlines, program, version or sampler.version)
    if play_all(plan, tasks, sampler, store, context.output, players).interrupted:
        raise KeyboardInterrupt


class Select(Stage):
    """Choose trajectories, as `agentgym select` does; the selection is called as the stage.

    Attributes:
        by: Selectors, in their order.
    """

    makes: ClassVar[str] = "selection"
    stage: Literal["select"]
    by: tuple[str, ...] = ("reward",)

    @field_validator("by")
    @classmethod
    def _exist(cls, by: tuple[str, ...]) -> tuple[str, ...]:
        with located():
            for spec in by:
                selecting.parse(spec, selecting.SELECTORS)
        return by

    def names(self) -> Iterator[Named]:
        """Directories in braces."""
        return in_braces("by", self.by)

    def told(self, found: dict[str, Any]) -> str:
        """How many."""
        return f"{found['kept']} kept of {found['of']}"

    def run(self, context: Context) -> dict[str, Any]:
        """Returns how many were ``kept``, ``of`` how many."""
        chosen = [selecting.parse(spec, selecting.SELECTORS) for spec in context.fill(self.by)]
        with Store(context.folder / self.store) as store:
            store.add_selection(self.name, selecting.apply(store.trajectories(), chosen))
            ((of, dropped),) = store.query("SELECT count(*), sum(reason != '') FROM selections WHERE name = ?", self.name)
        kept = of - (dropped or 0)
        return {"kept": kept, "of": of, "found": {self.name: kept}}


class Pairs(Stage):
    """Make preference pairs, as `agentgym pairs` does; they are called as the stage.

    Attributes:
        by: Makers and filters.
    """

    makes: ClassVar[str] = "pairs"
    stage: Literal["pairs"]
    by: tuple[str, ...] = ("outcome", "distinct", "cap")

    @field_validator("by")
    @classmethod
    def _makes_pairs(cls, by: tuple[str, ...]) -> tuple[str, ...]:
        with located():
            pairing.parse(by)
        return by

    def told(self, found: dict[str, Any]) -> str:
        """How many."""
        return f"{found['pairs']} pairs"

    def run(self, context: Context) -> dict[str, Any]:
        """Returns how many ``pairs`` were kept."""
        with Store(context.folder / self.store) as store:
            store.add_pairs(self.name, pairing.make_pairs(store.groups(), *pairing.parse(self.by)))
            ((kept,),) = store.query("SELECT count(*) FROM pairs WHERE name = ? AND dropped = ''", self.name)
        return {"pairs": kept, "found": {self.name: kept}}
