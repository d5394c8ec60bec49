"""How reinforcement learning is done, beside what the method says."""

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agentgym import UserError
from agentgym_training.base import Lora
from agentgym_training.packing import BUDGET
from agentgym_training.track import checked

from .methods import Method, find_method
from .objective import Objective

LONGER = ("updates",)  # may change when a training goes on: with a constant learning rate more are as many at once


def refuse_fewer(updates: int, done: int, out: Path) -> None:
    """Raise a `UserError` if a training that goes on has had more updates than it is asked for."""
    if done > updates:
        raise UserError(f"the training in {out} has had {done} updates: ask for more, or choose another --out")


@dataclass(frozen=True)
class Stage:
    """What is asked from some update on: a curriculum is a few of these.

    Easy to hard is a difficulty that grows; ScalingInter (arXiv:2509.08755) a number of turns that grows.

    Attributes:
        since: Number of the first update.
        difficulty: Of the tasks, as they name it; empty for any.
        turns: At most so many actions; None for the environment's own limit.
    """

    since: int = 1
    difficulty: str = ""
    turns: int | None = None


class RL(BaseModel):
    """How to train.

    The sampling temperature is 1 throughout: the logprobs that count are those of the policy itself.

    Attributes:
        method: A name in `methods.METHODS`.
        updates: How often new episodes are collected and learnt from.
        tasks: New training tasks of each update.
        start: Number of the first of them.
        samples: Episodes of each task, the group (trees, with a method that searches).
        steps: Of the optimizer in each update, for each batch that it learns from; the episodes are shared out among them.
        staleness: So many updates may happen between the beginning of an episode and the update that learns from it; 0 waits.
        replay: In how many updates a batch is learnt from, its own and those after it; by default what the method says.
        refill: Groups whose episodes all earned the same are replaced by those of new tasks, at most so often.
        lr: Learning rate, constant.
        kl: Weight of the divergence from the reference; by default what the method says.
        entropy: Weight of the entropy; by default what the method says.
        reference: Model directories: one, or the mean of several (a soup, as in SALSA); none for the model at the beginning.
        stages: A curriculum; before the first stage, and without any, all tasks are played to their ends.
        lora: Adapters, or None for all weights.
        max_tokens: Longest turn.
        pack: Tokens that go through the model at once, common beginnings counting once; by default `packing.BUDGET`.
        save_every: Updates between checkpoints.
        seed: Of tasks, sampling and first weights.
        track: A tracker that is told too; see `agentgym_training.track`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "grpo"
    updates: int = Field(100, ge=1)
    tasks: int = Field(16, ge=1)
    start: int = Field(0, ge=0)
    samples: int = Field(8, ge=1)
    steps: int = Field(1, ge=1)
    staleness: int = Field(0, ge=0)
    replay: int | None = Field(None, ge=1)
    refill: int = Field(0, ge=0)
    lr: float = Field(1e-5, gt=0)
    kl: float | None = Field(None, ge=0)
    entropy: float | None = Field(None, ge=0)
    reference: tuple[Path, ...] = ()
    stages: tuple[Stage, ...] = ()
    lora: Lora | None = None
    max_tokens: int = Field(256, ge=1)
    pack: int | None = Field(None, ge=1)
    save_every: int = Field(1, ge=1)
    seed: int = Field(0, ge=0)
    track: str | None = Field(None, exclude=True)

    @field_validator("track")
    @classmethod
    def _here(cls, track: str | None) -> str | None:
        return checked(track)

    @field_validator("method")
    @classmethod
    def _exists(cls, method: str) -> str:
        find_method(method)
        return method

    @model_validator(mode="after")
    def _fit(self) -> "RL":
        if self.by.search and any(s.turns for s in self.stages):
            raise UserError(f"method {self.method!r} grows trees, whose turns cannot be limited: leave turns out of the stages")
        return self

    def stage_at(self, number: int) -> Stage:
        """The stage of an update."""
        return max((s for s in self.stages if s.since <= number), key=lambda s: s.since, default=Stage())

    @property
    def budget(self) -> int:
        """`pack`, or the default for the device."""
        return self.pack or BUDGET

    @property
    def batches(self) -> int:
        """That an update learns from, once so many were played."""
        return self.by.replay if self.replay is None else self.replay

    @property
    def by(self) -> Method:
        """The method."""
        return find_method(self.method)

    @property
    def objective(self) -> Objective:
        """The method's objective with the weights given here."""
        usual = self.by.objective
        kl = usual.kl if self.kl is None else self.kl
        return replace(usual, kl=kl, entropy=usual.entropy if self.entropy is None else self.entropy)
