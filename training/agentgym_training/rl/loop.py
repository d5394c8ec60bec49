"""The loop: collect groups, score, credit, pack, update, publish the weights to the sampler, log, checkpoint.

Synchronous, each batch is played by the newest weights. With a `staleness` of k, the batches of the next k updates are under way
while an update runs: their actions are at most k updates old when they are learnt from, and the logprobs with which they were
written say by how much they count (see `objective.importance`).

Each update leaves a directory with the policy, from which the sampler takes its weights; every `RL.save_every`-th has the
optimizer too, and its last file says that it is whole. A run that is killed goes on from there: tasks and seeds follow from the
number of the update, and episodes that were played already are in the store.
"""

import json
import math
import shutil
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from agentgym import UserError
from agentgym.cli.output import Output
from agentgym.sampling.base import Publisher
from agentgym.sampling.transformers import TransformersSampler
from agentgym_training.base import same_training
from agentgym_training.evaluate import Evaluation, evaluate
from agentgym_training.files import keep_lines, write_json
from agentgym_training.plots import rl_curves
from agentgym_training.track import Tracker
from agentgym_trajectories.cli import choose_tasks, play_all
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.tree import Episode

from .batch import examples
from .collect import CONCURRENCY, Batch, Collector
from .config import LONGER, RL, refuse_fewer
from .health import alarms
from .tokens import keep
from .turns import Reward, environment_reward, turns_of
from .update import Learner, whole

STATE = "state.json"  # the last file of a checkpoint
KEPT = 3  # directories of weights: a sampler may still have turns of the one before the newest under way
Opener = Callable[[Path, str, RL], Publisher]  # a sampler of the weights in a directory, with the name of their version


def open_transformers(directory: Path, version: str, config: RL) -> Publisher:
    """A sampler in this process."""
    return TransformersSampler(directory, max_tokens=config.max_tokens, max_batch=CONCURRENCY, version=version)


def open_vllm(directory: Path, version: str, config: RL) -> Publisher:
    """A sampler with vLLM in a process of its own."""
    from agentgym.sampling.vllm import VllmSampler  # vLLM comes with an extra
    from agentgym.sampling.vllm_local import LocalEngine

    rank = config.lora.rank if config.lora else 0
    engine = LocalEngine(directory, max_batch=CONCURRENCY, adapter_rank=rank, updates=not rank)
    engine.version = version
    return VllmSampler(engine, max_tokens=config.max_tokens)


SAMPLERS: dict[str, Opener] = {"transformers": open_transformers, "vllm": open_vllm}


@dataclass
class Loop:
    """A training.

    Attributes:
        env: Id of the environment.
        env_args: Its arguments.
        model_dir: The policy to begin with.
        out: Directory for everything; at the end it is a model directory too.
        config: How.
        output: Where progress is told.
        reward: Of each action of a trajectory.
        opener: Of the sampler.
        watch: Given the number of each update and the directory of its weights; what it measures stands in the log too.
    """

    env: str
    env_args: dict[str, Any]
    model_dir: Path
    out: Path
    config: RL
    output: Output
    reward: Reward = environment_reward
    opener: Opener = open_transformers
    watch: Callable[[int, Path], dict[str, float]] = lambda number, directory: {}

    def run(self, resume: bool = False) -> dict[str, Any]:
        """Train.

        Args:
            resume: Go on from the last checkpoint in `out`, if there is one; a training that is over can be made longer.

        Returns:
            ``updates``, ``sampled_tokens``, ``reward`` and ``success`` of the last batch.

        Raises:
            UserError: what was asked for cannot be done, or the training to be resumed was another one.
            Failure: all episodes are being lost.
        """
        transformers.utils.logging.disable_progress_bar()
        judged = getattr(self.reward, "__qualname__", repr(self.reward))
        same_training([self.env, self.env_args, str(self.model_dir.resolve()), judged], self.config, self.out, resume, LONGER)
        self.model_dir = whole(self.model_dir.resolve(), self.out.resolve() / "base")
        done, start = self._last() if resume else (0, self.model_dir)
        refuse_fewer(self.config.updates, done, self.out)
        self.lines = self._log_until(done)
        tracker = Tracker(self.config.track, self.out, done)
        learner = Learner(self.model_dir, start, self.config)
        sampler = self.opener(start, f"weights-{done}", self.config)
        waiting: deque[Future[Batch]] = deque()
        with Collector(self.env, self.env_args, self.config, sampler, self.out / "rollouts", self.reward) as collector:
            for number in range(done + 1, self.config.updates + 1):
                while len(waiting) <= self.config.staleness and number + len(waiting) <= self.config.updates:
                    waiting.append(collector.begin(number + len(waiting)))
                batch = waiting.popleft().result()
                line = self._learn(learner, batch, number)
                directory = self._write(learner, line)
                text = batch.played[0].trajectory(_last_action(batch.played[0])).token_ids
                collector.publish(directory, f"weights-{number}", learner.probe(text or []))
                self._tell(line)
                tracker.log(number, line)
        tracker.close()
        learner.write(self.out)
        rl_curves(self.out / "metrics.jsonl", self.out / "rl.png")
        return {k: self.lines[-1][k] for k in ("sampled_tokens", "reward", "success")} | {"updates": self.config.updates}

    # ---- one update ----------------------------------------------------------------------------------------------------

    def _learn(self, learner: Learner, batch: Batch, number: int) -> dict[str, Any]:
        """Update the policy. Returns the line for the log."""
        began = time.perf_counter()
        if not batch.played:
            raise UserError(f"no episode of update {number} could be played: see the failures in {self.out / 'rollouts'}")
        line = {"update": number, **self._describe(batch, number), "seconds_collect": round(batch.seconds, 3)}
        if batch.kept:
            turns = turns_of(batch.kept, self.reward)
            sequences = examples(batch.kept, turns, learner.chat)
            measured, advantages, new = learner.learn(sequences, turns, number)
            keep(self.out / "tokens" / f"update-{number}.npz", batch.kept, turns, advantages, new)
            line |= measured
        return line | {"seconds_update": round(time.perf_counter() - began, 3)}

    def _describe(self, batch: Batch, number: int) -> dict[str, Any]:
        """What the batch was like."""
        best = [max((sum(self.reward(t)), t.success) for t in e.trajectories()) for e in batch.played]
        actions = [n for e in batch.played for n in e.nodes if n.kind == "action"]
        tokens = sum(len(n.token_ids or ()) + n.spent for n in actions)
        known = [int(n.version.rpartition("-")[2]) for n in actions]
        return {
            "reward": math.fsum(r for r, _ in best) / len(best),  # whoever came first
            "success": sum(s for _, s in best) / len(best),
            "episodes": len(batch.played),
            "learnt_from": len(batch.kept),
            "failed": batch.failed,
            "turns": len(actions) / len(batch.played),
            "valid": sum(not n.errors for n in actions) / len(actions),
            "cut": sum(n.cut for n in actions) / len(actions),
            "staleness": number - 1 - min(known),
            "sampled_tokens": tokens + (self.lines[-1]["sampled_tokens"] if self.lines else 0),
        }

    # ---- what stays ----------------------------------------------------------------------------------------------------

    def _write(self, learner: Learner, line: dict[str, Any]) -> Path:
        """Write the weights, and the log's line; a checkpoint too, if it is time."""
        number = line["update"]
        line["alarms"] = "; ".join(alarms([*self.lines, line]))
        directory = self.out / f"update-{number}"
        shutil.rmtree(directory, ignore_errors=True)
        learner.write(directory)
        line |= self.watch(number, directory)
        self.lines.append(line)
        with (self.out / "metrics.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        if number % self.config.save_every == 0 or number == self.config.updates:
            learner.save(directory)
            write_json(directory / STATE, {"update": number})
        saved = self._last()[0]
        for old in self.out.glob("update-*"):
            if int(old.name.rpartition("-")[2]) not in (saved, *range(number - KEPT + 1, number + 1)):
                shutil.rmtree(old)
        return directory

    def _last(self) -> tuple[int, Path]:
        """The newest checkpoint, with its number; the model to begin with as number 0."""
        whole = [(int(s.parent.name.rpartition("-")[2]), s.parent) for s in self.out.glob(f"update-*/{STATE}")]
        return max(whole, default=(0, self.model_dir))

    def _log_until(self, done: int) -> list[dict[str, Any]]:
        """The lines of the log up to an update; later ones are dropped, for those updates will be made again."""
        return keep_lines(self.out / "metrics.jsonl", lambda line: line["update"] <= done)

    def _tell(self, line: dict[str, Any]) -> None:
        tokens, seconds = line["sampled_tokens"], line["seconds_collect"] + line["seconds_update"]
        text = f"success {line['success']:.1%}, reward {line['reward']:.3f}, {tokens:,} tokens in all, {seconds:.1f} s"
        self.output.say(f"Update {line['update']} of {self.config.updates}: {text}.")
        if line["alarms"]:
            self.output.say(f"Alarm: {line['alarms']}.")


def _last_action(episode: Episode) -> int:
    return max(n.id for n in episode.nodes if n.kind == "action")


def held_out(
    env: str, env_args: dict[str, Any], policy: Path, tasks: int, max_tokens: int, output: Output, split: str = "test"
) -> Evaluation:
    """How good a policy is on tasks that it was not trained on, with the likeliest tokens.

    Args:
        env: Id of the environment.
        env_args: Its arguments.
        policy: A model directory.
        tasks: How many.
        max_tokens: Longest turn.
        output: Where progress is told.
        split: Of the tasks.
    """
    sampler = TransformersSampler(policy, temperature=0.0, max_tokens=max_tokens, max_batch=CONCURRENCY)
    sink, chosen = Memory(), choose_tasks(env, env_args, split, 0, tasks)
    progress = play_all(Rollout(env, env_args, concurrency=CONCURRENCY), chosen, sampler, sink, output)
    return evaluate(sink.episodes, progress.failed)
