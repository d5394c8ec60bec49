"""Evolution strategies: better weights without a backward pass, from seeds and rewards alone.

As Qiu et al. 2025 (arXiv:2509.24372, algorithm 1): each member of a population has the weights plus `sigma` times normal noise
that follows from its seed; all members play the same tasks with the likeliest tokens; with Z their standardised mean rewards the
weights move by ``lr * mean of Z_n noise_n``. What a member was need not be kept, its seed is enough.

Departures: members come in pairs with opposite noise, which halves the variance (Salimans et al. 2017, arXiv:1703.03864), and the
weights come back from a copy in float32, not by subtraction, which would leave rounding errors behind.
"""

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peft import get_peft_model
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from agentgym import Tasks, UserError, make
from agentgym.cli.output import Output
from agentgym.sampling.transformers import TransformersSampler, load, without_peft_warning
from agentgym_training.base import Lora, peft_config, same_training
from agentgym_training.files import write_json
from agentgym_training.track import Tracker, checked
from agentgym_trajectories.rollout import Memory, Rollout

from .collect import CONCURRENCY, cycled
from .config import LONGER, refuse_fewer
from .rewards import outcomes
from .turns import Reward, environment_reward
from .update import whole

WEIGHTS = "weights.pt"  # in float32
STATE = "state.json"  # the last file of a generation


class ES(BaseModel):
    """How to evolve.

    Attributes:
        updates: Generations.
        pairs: Of members with opposite noise, in each generation.
        tasks: New training tasks of each generation.
        start: Number of the first of them.
        sigma: Size of the noise.
        lr: Size of a step, in units of the noise.
        lora: Evolve adapters, or None for all weights.
        max_tokens: Longest turn.
        seed: Of noise, tasks and first weights.
        track: A tracker that is told too; see `agentgym_training.track`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    updates: int = Field(100, ge=1)
    pairs: int = Field(15, ge=1)
    tasks: int = Field(32, ge=1)
    start: int = Field(0, ge=0)
    sigma: float = Field(1e-3, gt=0)
    lr: float = Field(5e-4, gt=0)
    lora: Lora | None = None
    max_tokens: int = Field(256, ge=1)
    seed: int = Field(0, ge=0)
    track: str | None = Field(None, exclude=True)

    @field_validator("track")
    @classmethod
    def _here(cls, track: str | None) -> str | None:
        return checked(track)


@dataclass
class Evolution:
    """An evolution; fields as those of `loop.Loop`."""

    env: str
    env_args: dict[str, Any]
    model_dir: Path
    out: Path
    config: ES
    output: Output
    reward: Reward = environment_reward

    def run(self, resume: bool = False) -> dict[str, Any]:
        """Evolve.

        Args:
            resume: Go on from the last generation in `out`, if there is one; a training that is over can be made longer.

        Returns:
            ``updates``, ``sampled_tokens``, and ``reward`` of the last generation, the mean of all members.

        Raises:
            UserError: what was asked for cannot be done, or the training to be resumed was another one.
        """
        if outcomes(self.reward):
            raise UserError("evolution strategies ask nobody what episodes are worth: leave out the judge, or the reward model")
        transformers.utils.logging.disable_progress_bar()
        judged = getattr(self.reward, "__qualname__", repr(self.reward))
        same_training([self.env, self.env_args, str(self.model_dir.resolve()), judged], self.config, self.out, resume, LONGER)
        first = whole(self.model_dir.resolve(), self.out.resolve() / "base")
        states = sorted(self.out.glob(f"generation-*/{STATE}"), key=_number) if resume else []
        lines = json.loads(states[-1].read_text()) if states else []
        refuse_fewer(self.config.updates, len(lines), self.out)
        tracker = Tracker(self.config.track, self.out, len(lines))
        self._open(states[-1].parent if states else first, first)
        for number in range(len(lines) + 1, self.config.updates + 1):
            reward, tokens = self._generation(number)
            tokens += lines[-1]["sampled_tokens"] if lines else 0
            lines.append({"update": number, "reward": reward, "sampled_tokens": tokens})
            self._write(number, lines)
            tracker.log(number, lines[-1])
            self.output.say(f"Generation {number} of {self.config.updates}: reward {reward:.3f}.")
        tracker.close()
        asyncio.run(self.sampler.close())
        self._save(self.out)
        (self.out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return {"updates": self.config.updates, "sampled_tokens": lines[-1]["sampled_tokens"], "reward": lines[-1]["reward"]}

    def _open(self, start: Path, first: Path) -> None:
        with closing(make(self.env, **self.env_args)) as made:
            self.tasks = made.tasks("train")
        model, self.tokenizer = load(start)
        adapters = peft_config(self.config.lora)
        if adapters is not None and start == first:
            torch.manual_seed(self.config.seed)
            with without_peft_warning():
                model = get_peft_model(model, adapters)
        lora = adapters is not None
        chosen = [p for name, p in model.named_parameters() if ("lora_" in name) == lora]
        if start == first:
            kept = [p.detach().float().clone() for p in chosen]
        else:  # in bf16 the model alone would have forgotten the small steps
            kept = torch.load(start / WEIGHTS, map_location=model.device)
        self.weights: list[tuple[Tensor, Tensor]] = list(zip(chosen, kept, strict=True))
        self.sampler = TransformersSampler(
            model, self.tokenizer, temperature=0.0, max_tokens=self.config.max_tokens, max_batch=CONCURRENCY
        )

    def _generation(self, number: int) -> tuple[float, int]:
        """One step. Returns the members' mean reward and how many tokens they sampled."""
        config = self.config
        first = config.seed * 1_000_000 + config.start + (number - 1) * config.tasks
        tasks = Tasks.of(cycled(self.tasks, first, config.tasks))
        spent = self.sampler.usage.sampled_tokens
        seeds = [(config.seed * 1_000_003 + number) * 10_007 + i for i in range(config.pairs)]
        earned = np.array([[self._member(seed, sign * config.sigma, tasks) for sign in (1, -1)] for seed in seeds])
        z = (earned - earned.mean()) / (earned.std() + 1e-8)
        with torch.no_grad():
            for seed, (up, down) in zip(seeds, z, strict=True):
                for (_, kept), noise in zip(self.weights, self._noise(seed), strict=True):
                    kept += config.lr / earned.size * float(up - down) * noise
        self._set(0, 0.0)
        return float(earned.mean()), self.sampler.usage.sampled_tokens - spent

    def _member(self, seed: int, size: float, tasks: Tasks) -> float:
        """The mean reward of the weights plus noise."""
        self._set(seed, size)
        sink = Memory()
        asyncio.run(Rollout(self.env, self.env_args, 1, 0, CONCURRENCY).run(tasks, self.sampler, sink))
        if len(sink.episodes) < len(tasks):
            lost = len(tasks) - len(sink.episodes)
            raise UserError(
                f"{lost} of {len(tasks)} episodes failed, and members are compared on the same tasks: mend that first"
            )
        return float(np.mean([sum(self.reward(t)) for e in sink.episodes for t in e.trajectories()]))

    @torch.no_grad()
    def _set(self, seed: int, size: float) -> None:
        for (weight, kept), noise in zip(self.weights, self._noise(seed), strict=True):
            weight.copy_(kept + size * noise if size else kept)

    def _noise(self, seed: int) -> Iterator[Tensor]:
        """Of each weight, the same for the same seed."""
        generator: dict[torch.device, torch.Generator] = {}
        for _, kept in self.weights:
            if kept.device not in generator:
                generator[kept.device] = torch.Generator(kept.device).manual_seed(seed)
            yield torch.randn(kept.shape, generator=generator[kept.device], device=kept.device)

    def _save(self, directory: Path) -> None:
        self.sampler.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def _write(self, number: int, lines: list[dict[str, Any]]) -> None:
        """The weights of a generation, and last what says that it is whole; all others go."""
        directory = self.out / f"generation-{number}"
        shutil.rmtree(directory, ignore_errors=True)
        self._save(directory)
        torch.save([kept for _, kept in self.weights], directory / WEIGHTS)
        write_json(directory / STATE, lines)
        for old in self.out.glob("generation-*"):  # of a run that was killed there may be several
            if old != directory:
                shutil.rmtree(old)


def _number(state: Path) -> int:
    return int(state.parent.name.rpartition("-")[2])
