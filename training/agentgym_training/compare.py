"""Selections and objectives side by side: one small model, trained on each, judged on the same tasks, with what it cost.

The harness of "Take the essence and discard the dross" (Liu et al. 2024, arXiv:2406.14115): selections are compared at equal
size, and by what a model learns from them.
"""

import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agentgym import UserError
from agentgym.cli.output import Output
from agentgym.sampling.transformers import TransformersSampler, load_tokenizer
from agentgym_trajectories import select as selecting
from agentgym_trajectories.cli import choose_tasks, play_all
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.scorer import Scorer
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Trajectory

from .evaluate import evaluate
from .objectives import parse
from .rows import training_rows
from .sft import Sft, train_sft

CONCURRENCY = 64
EVERYTHING = "everything"


@dataclass(frozen=True)
class Variant:
    """One way to learn from a run.

    Attributes:
        by: Selectors, one after the other; none takes everything.
        objectives: What is learnt from what is left.
        sized: Whether a random part of equal size is taken of what is left.
    """

    by: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    sized: bool = True

    @property
    def name(self) -> str:
        """As on the command line; a sized part of everything is called "random"."""
        chosen = "+".join(self.by) or ("random" if self.sized else EVERYTHING)
        return " ".join([chosen, *self.objectives]) if self.by or not self.objectives else " ".join(self.objectives)


@dataclass(frozen=True)
class Result:
    """What came of a variant.

    Attributes:
        name: Of the variant.
        kept: Trajectories that the selection kept.
        used: Trajectories trained on.
        success: Held-out success.
        low: Lower end of its 95 % interval.
        high: Upper end.
        select_seconds: What selecting took.
        scored_tokens: Ids that models read for it.
        train_seconds: What training took.
        trained_tokens: Ids that were trained on, repetitions counted.
    """

    name: str
    kept: int
    used: int
    success: float
    low: float
    high: float
    select_seconds: float
    scored_tokens: int
    train_seconds: float
    trained_tokens: int


@dataclass(frozen=True)
class Comparison:
    """How variants are compared.

    Attributes:
        run: The trajectories to choose from.
        model: The model that is trained on each.
        env: Where it is judged.
        env_args: The environment's arguments.
        sft: How it is trained; the steps are the same for all.
        out: Where models and results go; what is there is not done again.
        count: Size of all selections; None for the size of the smallest.
        tasks: Held-out tasks of the test split.
        temperature: Of the evaluations.
        max_tokens: Longest turn.
    """

    run: Path
    model: Path
    env: str
    env_args: dict[str, Any]
    sft: Sft
    out: Path
    count: int | None = None
    tasks: int = 200
    temperature: float = 0.0
    max_tokens: int = 96

    def carry_out(self, variants: Sequence[Variant], output: Output) -> list[Result]:
        """Select, train and judge; one result for each variant, in their order.

        Raises:
            UserError: a selection keeps less than the size asked for, or nothing.
        """
        for v in variants:  # before anything is done
            parse(v.objectives)
            for spec in v.by:
                selecting.parse(spec, selecting.SELECTORS)
        kept = {v: self._select(v, output) for v in variants}
        count = self.count or min(len(k["kept"]) for k in kept.values())
        return [self._result(v, kept[v], count, output) for v in variants]

    def judge(self, policy: Path, output: Output) -> tuple[float, float, float]:
        """Held-out success of a policy, and the ends of its 95 % interval."""
        tasks, sink = choose_tasks(self.env, self.env_args, "test", 0, self.tasks), Memory()
        sampler = TransformersSampler(policy, temperature=self.temperature, max_tokens=self.max_tokens, max_batch=CONCURRENCY)
        progress = play_all(Rollout(self.env, self.env_args, concurrency=CONCURRENCY), tasks, sampler, sink, output)
        found = evaluate(sink.episodes, progress.failed)
        return found.success, found.low, found.high

    def folder(self, variant: Variant) -> Path:
        """Where a variant's selection, policy and result are."""
        return self.out / re.sub(r"[^\w.=-]+", "_", variant.name)

    def _select(self, variant: Variant, output: Output) -> dict[str, Any]:
        """Episodes and leaves that are kept, and the cost; from the file of an earlier call if it is there."""
        file = self.folder(variant) / "selected.json"
        if not file.exists():
            output.say(f"Selecting: {variant.name}.")
            began, read = time.perf_counter(), Scorer.total
            chosen = [selecting.parse(spec, selecting.SELECTORS) for spec in variant.by]
            with Store(self.run) as store:
                verdicts = list(selecting.apply(store.trajectories(), chosen))
            kept = [(t.episode.id, t.leaf.id) for t, reason in verdicts if not reason]
            found = {"kept": kept, "seconds": time.perf_counter() - began, "tokens": Scorer.total - read}
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found))
        return dict(json.loads(file.read_text()))

    def _result(self, variant: Variant, selected: dict[str, Any], count: int, output: Output) -> Result:
        folder, kept = self.folder(variant), [tuple(k) for k in selected["kept"]]
        file = folder / "result.json"
        if not file.exists():
            if not kept or (variant.sized and len(kept) < count):
                raise UserError(f"{variant.name} keeps {len(kept)} trajectories, not {count}: give a smaller --count")
            used = set(random.Random(self.sft.seed).sample(kept, count) if variant.sized else kept)
            output.say(f"Training on {len(used)}: {variant.name}.")
            trained = self._train(variant, used)
            output.say(f"Judging: {variant.name}.")
            success, low, high = self.judge(folder / "policy", output)
            result = Result(
                *(variant.name, len(kept), len(used), success, low, high),
                select_seconds=selected["seconds"],
                scored_tokens=selected["tokens"],
                train_seconds=trained["seconds"],
                trained_tokens=int(trained["tokens"]),
            )
            file.write_text(json.dumps(asdict(result)))
        return Result(**json.loads(file.read_text()))

    def _train(self, variant: Variant, used: set[tuple[int, int]]) -> dict[str, float]:
        config = self.sft.model_copy(update={"objectives": variant.objectives})
        with Store(self.run) as store:
            taken: list[Trajectory] = [t for t in store.trajectories() if (t.episode.id, t.leaf.id) in used]
        rows = training_rows(taken, load_tokenizer(self.model), None, parse(variant.objectives))
        return train_sft(self.model, rows, self.folder(variant) / "policy", config)
