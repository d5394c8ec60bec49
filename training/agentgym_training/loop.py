"""Iterative training: collect, find what the policy lacks, search there, pair, train, evaluate, and again with the new policy.

All of a round lies in its folder: the store of its episodes, trees and pairs, the policy that came of it, and one JSON file
for each stage that is done. A stage that is not done is begun again where it stood, so that a loop which was killed at any point
goes on when its command is given again, with the same result: all seeds follow from the loop's, the round and the task.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym import UserError
from agentgym.cli.output import Output
from agentgym.sampling import oracle
from agentgym.sampling.transformers import TransformersSampler, load_tokenizer
from agentgym_trajectories import pairs as pairing
from agentgym_trajectories import select as selecting
from agentgym_trajectories.cli import choose_tasks, play_all
from agentgym_trajectories.players import LocalPlayers
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Trajectory

from .evaluate import evaluate
from .nano import init_model
from .preference import train_preference
from .recipe import Recipe
from .rows import pair_rows, training_rows
from .sft import train_sft

PAIRS = "loop"
CONCURRENCY = 64
SAVE_STEPS = 50  # between checkpoints, from which a killed training goes on


@dataclass
class Loop:
    """A recipe being carried out.

    Attributes:
        recipe: What to do.
        out: Directory for everything.
        seed: Of everything: another seed takes other training tasks, weights and batches; evaluation tasks stay.
        output: Where progress is told.
    """

    recipe: Recipe
    out: Path
    seed: int
    output: Output

    def run(self) -> dict[str, Any]:
        """Carry out all rounds.

        Returns:
            ``rounds`` (of each ``success`` on validation tasks, ``sampled_tokens``, its ``pairs`` and the own ``successes``
            learnt from), ``start`` (success before),
            ``best`` (the round whose policy is kept), ``success`` on test tasks of the first and the best policy, ``policy``.
        """
        self._same_recipe()
        first = policy = self._first_policy()
        began = self._success(policy, "validation", self.out / "start.json")
        rounds: list[dict[str, Any]] = []
        policies, best = [policy], 0
        for number in range(1, self.recipe.rounds + 1):
            folder = self.out / f"round-{number}"
            found = self._round(number, folder, first, policy)
            if found["pairs"] or found["successes"]:
                policy = folder / "policy"
                found["success"] = self._success(policy, "validation", folder / "validation.json")
            else:
                found["success"] = rounds[-1]["success"] if rounds else began  # there was nothing to learn from
            rounds.append(found)
            policies.append(policy)
            self._tell(number, found)
            scores = [began, *(r["success"] for r in rounds)]
            best = max(range(len(scores)), key=lambda i: scores[i])
            if number - best >= self.recipe.patience:
                self.output.say(f"No better validation for {self.recipe.patience} rounds: stopping.")
                break
        tested = {
            "start": self._success(first, "test", self.out / "test-start.json"),
            "best": self._success(policies[best], "test", self.out / "test-best.json"),
        }
        return {"rounds": rounds, "start": began, "best": best, "success": tested, "policy": str(policies[best])}

    # ---- stages --------------------------------------------------------------------------------------------------------

    def _first_policy(self) -> Path:
        if self.recipe.policy is not None:
            return self.recipe.policy
        warmup, folder = self.recipe.warmup, self.out / "warmup"

        def make() -> dict[str, Any]:
            with Store(folder, create=True) as store:
                for easier in warmup.easier:
                    self._collect(store, "oracle", 0, easier.tasks, 1, easier.env_args)
                self._collect(store, "oracle", 0, warmup.tasks, 1)
                gold = [t for t in store.trajectories() if t.success]
            init_model(
                [(t.messages, t.episode.tools) for t in gold], folder / "base", seed=self.seed, warmup_steps=warmup.copy_steps
            )
            rows = training_rows(gold, load_tokenizer(folder / "base"))
            config = warmup.sft.model_copy(update={"seed": self.seed, "save_steps": SAVE_STEPS})
            return train_sft(folder / "base", rows, folder / "policy", config, resume=True)

        self._stage(folder / "warmup.json", "Warm-up: a policy from oracle episodes.", make)
        return folder / "policy"

    def _round(self, number: int, folder: Path, first: Path, policy: Path) -> dict[str, Any]:
        """Everything but the evaluation."""
        recipe = self.recipe
        start = recipe.warmup.tasks + (number - 1) * recipe.tasks

        def collect() -> dict[str, Any]:
            with Store(folder, create=True) as store:
                if recipe.demonstrations:
                    self._collect(store, "oracle", start, recipe.tasks, 1)
                if recipe.samples:
                    self._collect(store, str(policy), start, recipe.tasks, recipe.samples)
                if recipe.search is not None:
                    self._search(store, policy, start)
                tokens = store.query("SELECT coalesce(sum(tokens), 0) FROM episodes WHERE version != 'oracle'")[0][0]
                successes = len(list(self._successes([store]))) if recipe.sft else 0
                return {"sampled_tokens": tokens, "pairs": self._pair(store) if recipe.preference else 0, "successes": successes}

        found = self._stage(folder / "collected.json", f"Round {number}: collecting with {policy}.", collect)
        if found["pairs"] or found["successes"]:
            what = f"Round {number}: training on {_learnt(found)}"
            self._stage(folder / "trained.json", what, lambda: self._train(number, folder, first, policy))
        return dict(found)

    def _collect(
        self, store: Store, policy: str, start: int, count: int, samples: int, env_args: dict[str, Any] | None = None
    ) -> None:
        """Play tasks; `env_args` are the recipe's if nothing else is said."""
        env, args = self.recipe.env, self.recipe.env_args if env_args is None else env_args
        tasks = choose_tasks(env, args, "train", self._offset() + start, count)
        plan = Rollout(env, args, samples, self.seed, CONCURRENCY)
        play_all(plan, tasks, oracle() if policy == "oracle" else self._sampler(Path(policy)), store, self.output)

    def _search(self, store: Store, policy: Path, start: int) -> None:
        """Trees for the tasks that the policy does not solve every time."""
        recipe, chosen = self.recipe, self.recipe.search
        assert chosen is not None
        sampler = self._sampler(policy)
        search = chosen.build()
        tasks = choose_tasks(recipe.env, recipe.env_args, "train", self._offset() + start, recipe.tasks)
        if recipe.samples:
            solved = store.query("SELECT task, avg(success) FROM episodes WHERE version = ? GROUP BY task", sampler.version)
            weak = {task for task, success in solved if success < recipe.deficient}
            tasks = type(tasks).of(t for t in tasks if t.id in weak)
        plan = Rollout(recipe.env, recipe.env_args, 1, self.seed, CONCURRENCY)
        version = search.version(sampler.version)
        players = LocalPlayers(recipe.env, recipe.env_args, sampler, plan.deadlines, search.play, version)
        play_all(plan, tasks, sampler, store, self.output, players)

    def _pair(self, store: Store) -> int:
        store.add_pairs(PAIRS, pairing.make_pairs(store.groups(), *pairing.parse(self.recipe.pairs)))
        return int(store.query("SELECT count(*) FROM pairs WHERE name = ? AND dropped = ''", PAIRS)[0][0])

    def _train(self, number: int, folder: Path, first: Path, policy: Path) -> dict[str, Any]:
        """First on successes, then on pairs, where the recipe has both and there are some."""
        recipe, out = self.recipe, folder / "policy"
        seeded = {"seed": self.seed + number, "save_steps": SAVE_STEPS}
        found: dict[str, Any] = {}
        stores = [Store(f) for f in self._buffer(number)]
        try:
            pairs = recipe.preference and pair_rows((p for store in stores for p in store.pairs(PAIRS)), load_tokenizer(policy))
            successes = recipe.sft and training_rows(self._successes(stores), load_tokenizer(policy))
        finally:
            for store in stores:
                store.close()
        began = policy
        if successes and recipe.sft is not None:
            began = folder / "sft" if pairs else out
            found["sft"] = train_sft(policy, successes, began, recipe.sft.model_copy(update=seeded), resume=True)
        if pairs and recipe.preference is not None:
            previous = "initial" if began == policy else str(policy)
            reference = {"logged": "logged", "previous": previous, "first": str(first)}[recipe.reference]
            config = recipe.preference.model_copy(update=seeded | {"reference": reference})
            found["preference"] = train_preference(began, pairs, out, config, resume=True)
        return found

    def _buffer(self, number: int) -> list[Path]:
        """The rounds to learn from; each holds what one version of the policy did."""
        folders = [self.out / f"round-{n}" for n in range(max(1, number - self.recipe.buffer + 1), number + 1)]
        found = [json.loads((f / "collected.json").read_text()) for f in folders]
        return [f for f, had in zip(folders, found, strict=True) if had["pairs"] or had["successes"]]

    def _successes(self, stores: list[Store]) -> Iterator[Trajectory]:
        """Own trajectories that succeeded, each once (rejection sampling)."""
        own = (t for store in stores for t in store.trajectories() if t.episode.version != "oracle" and t.success)
        return (t for t, reason in selecting.apply(own, [selecting.Duplicates()]) if not reason)

    def _success(self, policy: Path, split: str, file: Path) -> float:
        recipe = self.recipe

        def measure() -> dict[str, Any]:
            count = recipe.validation if split == "validation" else recipe.test
            tasks = choose_tasks(recipe.env, recipe.env_args, split, 0, count)
            sink, sampler = Memory(), self._sampler(policy, 0.0)
            progress = play_all(Rollout(recipe.env, recipe.env_args, 1, 0, CONCURRENCY), tasks, sampler, sink, self.output)
            return evaluate(sink.episodes, progress.failed).to_dict()

        return float(self._stage(file, f"Evaluating {policy} ({split}).", measure)["success"])

    # ---- inside --------------------------------------------------------------------------------------------------------

    def _stage(self, file: Path, what: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of a stage, from its file if it is done."""
        if not file.exists():
            self.output.say(what)
            result = work()
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".part")
            unfinished.write_text(json.dumps(result))
            unfinished.replace(file)
        return dict(json.loads(file.read_text()))

    def _same_recipe(self) -> None:
        now = {"seed": self.seed, "recipe": self.recipe.model_dump(mode="json")}
        file = self.out / "recipe.json"
        if file.exists() and json.loads(file.read_text()) != now:
            raise UserError(f"{self.out} was made with another recipe or seed: give the same, or choose another --out")
        self._stage(file, f"A loop in {self.out}.", lambda: now)

    def _sampler(self, policy: Path, temperature: float | None = None) -> TransformersSampler:
        heat = self.recipe.temperature if temperature is None else temperature
        return TransformersSampler(policy, temperature=heat, max_tokens=self.recipe.max_tokens, max_batch=CONCURRENCY)

    def _offset(self) -> int:
        """The first training task: seeds have tasks of their own."""
        return self.seed * 1_000_000

    def _tell(self, number: int, found: dict[str, Any]) -> None:
        tokens = found["sampled_tokens"]
        self.output.say(f"Round {number}: success {found['success']:.1%} on validation, {tokens:,} tokens, {_learnt(found)}")


def _learnt(found: dict[str, Any]) -> str:
    return f"{found['successes']} own successes and {found['pairs']} pairs, and those of earlier rounds in the buffer."
