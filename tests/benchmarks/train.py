"""Tokens per second of an update (forward, backward, optimizer): ours beside TRL's, and trees with and without sharing.

``python -m tests.benchmarks.train --json`` prints one line of JSON last:

- `ours` and `trl`: the same rows of several turns, no two beginning alike, through `Learner.update` and through TRL's
  GRPOTrainer (None where it is not installed; the better of its micro-batches of 8 and of 16 rows).
- `tree_shared` and `tree_unshared`: trees of eight branches that begin with the same three quarters of their tokens, through
  `Learner.update`; then the same trees with another first token in each branch, so that nothing can be shared.
- `thinking_single` and `thinking_several`: talks of several turns whose thoughts later turns do not see, forward and backward, in one
  pass over what their sequences share and sequence by sequence; and how far the gradients of both differ, relatively
  (`thinking_difference`).

Tokens are those of all rows, shared ones as often as they occur. One model (the demo's on a CPU, one of 0.6 billion random weights
on a GPU), float32 weights, bf16 arithmetic on a GPU. All are measured in turns, best of several rounds; on a CPU in seconds of the
process, since other work on the machine only ever slows a round down. ``--tiny`` tries it out.
"""

import argparse
import copy
import gc
import importlib.util
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentgym_training.base import open_model
from agentgym_training.nano import make_model
from agentgym_training.packing import BUDGET, Scored, packed, score, share, token_logps
from agentgym_training.rl.batch import Example
from agentgym_training.rl.config import RL
from agentgym_training.rl.update import Learner
from tests.templates import tokenizer

GPU = torch.cuda.is_available()
HALF_BILLION = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
BRANCHES, SHARED = 8, 0.75


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rows: Linear ones.
        trees: With `BRANCHES` branches each.
        length: Of a branch, and of the longest linear row; the shortest has half of it.
        turn: Tokens of the agent, and of the environment, in turns.
        rounds: The first is not counted.
        big: 0.6 billion weights, not the demo's half a million.
        pieces: TRL's micro-batches, in rows.
        talks: With thoughts, of `length` / `turn` turns.
    """

    rows: int = 64
    trees: int = 8
    length: int = 320
    turn: int = 40
    rounds: int = 6
    big: bool = False
    pieces: tuple[int, ...] = (8, 16)
    talks: int = 8


TINY = Size(rows=16, trees=1, length=48, turn=8, rounds=1, pieces=(8,), talks=1)
ON_GPU = Size(length=1024, turn=128, rounds=4, big=True)


def save_model(directory: Path, big: bool) -> None:
    """A model of random weights, and a tokenizer of bytes."""
    words = tokenizer("chatml")
    made = make_model(words)
    if big:
        torch.manual_seed(0)
        more = {"num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True, "max_position_embeddings": 4096}
        made = Qwen3ForCausalLM(Qwen3Config(vocab_size=151_936, **HALF_BILLION, **more))
    made.save_pretrained(directory)
    words.save_pretrained(directory)


def linear(size: Size, rng: np.random.Generator) -> list[Example]:
    """Rows of several turns that have nothing in common."""
    lengths = rng.integers(size.length // 2, size.length + 1, size.rows)
    return _examples([rng.integers(4, 250, n).tolist() for n in lengths], [0] * size.rows, size)


def forest(size: Size, rng: np.random.Generator, *, apart: bool) -> list[Example]:
    """Trees whose branches leave one trunk; what they share is trained in the first of them alone.

    Args:
        size: Of all.
        rng: Draws the ids.
        apart: Give each branch a first token of its own.
    """
    trunk = round(SHARED * size.length)
    made = []
    for _ in range(size.trees):
        begun = rng.integers(4, 250, trunk).tolist()
        made += [begun + rng.integers(4, 250, size.length - trunk).tolist() for _ in range(BRANCHES)]
    if apart:
        made = [[4 + i % 240, 4 + i // 240, *ids[2:]] for i, ids in enumerate(made)]
    return _examples(made, [trunk if i % BRANCHES else 0 for i in range(len(made))], size)


def _examples(rows: list[list[int]], first: list[int], size: Size) -> list[Example]:
    """The agent writes every other turn, and of each row what comes from `first` on is trained."""
    found: list[Example] = []
    count = 0
    for ids, start in zip(rows, first, strict=True):
        at = np.arange(max(start, size.turn), len(ids))
        at = at[at // size.turn % 2 == 1]
        found.append(Example(ids, at, count + np.arange(len(at)), len(found)))
        count += len(at)
    return found


def talks(size: Size, rng: np.random.Generator) -> list[Scored]:
    """Requests, thoughts and answers; each turn is a sequence: what was asked and answered before, then its thought and answer."""
    found: list[Scored] = []
    count = 0
    for _ in range(size.talks):
        history: list[int] = []
        for _ in range(size.length // size.turn):
            asked, thought, said = (rng.integers(4, 250, n).tolist() for n in (size.turn, size.turn, size.turn // 2))
            ids = [*history, *asked, *thought, *said]
            at = np.arange(len(history) + len(asked), len(ids))
            found.append(Scored(ids, at, count + np.arange(len(at))))
            history += [*asked, *said]
            count += len(at)
    return found


def gradients(model: Any, given: list[Scored]) -> torch.Tensor:
    """Of the mean log-probability of what was thought and said, as one vector."""
    model.zero_grad()
    count = sum(len(s.at) for s in given)
    for micro in packed(model, given, BUDGET, 0, model.device):
        (score(model, micro, token_logps).sum() / count).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def tokens(rows: Sequence[Example | Scored]) -> int:
    """Of all rows, shared ones as often as they occur."""
    return sum(len(r.ids) for r in rows)


def updates(model: Path) -> Callable[[list[Example]], None]:
    """Our update: all rows, one step of the optimizer."""
    learner = Learner(model, model, RL(method="grpo", lr=1e-6))
    rng = np.random.default_rng(1)

    def update(rows: list[Example]) -> None:
        count = sum(len(r.at) for r in rows)
        learner.update(rows, rng.choice([-1.0, 1.0], count), np.full(count, -5.0), 1)

    return update


class Clock:
    """Seconds by name: the shortest time that each took."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        gc.collect()
        began = now()
        yield
        self.add(name, now() - began)

    def add(self, name: str, seconds: float) -> None:
        """Note a time."""
        self.best[name] = min(seconds, self.best.get(name, float("inf")))


def now() -> float:
    """Seconds of the process; on a GPU of the clock on the wall, when all work is done."""
    if not GPU:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def trl_rounds(model: Path, rows: list[Example], piece: int, rounds: int, between: Callable[[], None], clock: Clock) -> None:
    """Rounds of TRL's trainer on the rows, each after a round of everything else.

    What it does to get its episodes and their rewards is not counted, though it is given them ready-made.
    """
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a vLLM that may be installed, which has no part in this
        import datasets
        import transformers
        from trl import GRPOConfig, GRPOTrainer
    spent = 0.0

    class Measured(GRPOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            nonlocal spent
            began = now()
            made = super()._generate_and_score_completions(inputs)
            spent += now() - began
            return made

    class Turns(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            nonlocal spent
            between()
            gc.collect()
            spent, self.began = 0.0, now()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step > 1:
                clock.add("trl", now() - self.began - spent)

    args = GRPOConfig(
        output_dir=str(model.parent / f"trl-{piece}"),
        max_steps=rounds,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        per_device_train_batch_size=piece,
        gradient_accumulation_steps=len(rows) // piece,
        num_generations=8,
        max_completion_length=4096,
        beta=0.0,
        loss_type="grpo",
        use_cpu=not GPU,
        bf16=GPU,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    Measured(
        model=str(model),
        reward_funcs=lambda earned, **_: earned,
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": [str(i) for i in range(rounds * len(rows) // 8)]}),
        rollout_func=lambda prompts, _: _as_trl(rows),
        callbacks=[Turns()],
    ).train()


def _as_trl(rows: list[Example]) -> dict[str, list[Any]]:
    starts = [int(r.at[0]) for r in rows]
    agent = [np.isin(np.arange(len(r.ids)), r.at).astype(int).tolist() for r in rows]
    return {
        "prompt_ids": [r.ids[:n] for r, n in zip(rows, starts, strict=True)],
        "completion_ids": [r.ids[n:] for r, n in zip(rows, starts, strict=True)],
        "env_mask": [mask[n:] for mask, n in zip(agent, starts, strict=True)],
        "logprobs": [[-5.0] * (len(r.ids) - n) for r, n in zip(rows, starts, strict=True)],
        "earned": [float(i % 2) for i in range(len(rows))],
    }


def measure(size: Size, out: Path) -> dict[str, Any]:
    """All of it.

    Args:
        size: How much.
        out: Where model and TRL's files go.
    """
    rng, clock, warm = np.random.default_rng(0), Clock(), Clock()
    model = out / "model"
    save_model(model, size.big)
    work = {
        "ours": linear(size, rng),
        "tree_shared": forest(size, rng, apart=False),
        "tree_unshared": forest(size, rng, apart=True),
    }
    update = updates(model)
    thoughts, alone = talks(size, rng), open_model(model)[0].to("cuda" if GPU else "cpu")
    single, differ = share(copy.deepcopy(alone)), [0.0]

    def between(clock: Clock = clock) -> None:
        for name, rows in work.items():
            with clock(name):
                update(rows)
        found = []
        for name, reader in (("thinking_single", single), ("thinking_several", alone)):
            with clock(name):
                found.append(gradients(reader, thoughts))
        differ[0] = max(differ[0], ((found[0] - found[1]).norm() / found[1].norm()).item())

    between(warm)
    theirs = size.pieces if importlib.util.find_spec("trl") and importlib.util.find_spec("datasets") else ()
    for piece in theirs:
        trl_rounds(model, work["ours"], piece, 1 + size.rounds // len(theirs), between, clock)
    for _ in range(0 if theirs else size.rounds):
        between()
    counts = {name: tokens(rows) for name, rows in work.items()}
    counts |= {"trl": counts["ours"], "thinking_single": tokens(thoughts), "thinking_several": tokens(thoughts)}
    speed: dict[str, Any] = {"trl": None} | {name: round(counts[name] / seconds) for name, seconds in clock.best.items()}
    return speed | {
        "ours_to_trl": speed["trl"] and round(speed["ours"] / speed["trl"], 2),
        "shared_to_unshared": round(speed["tree_shared"] / speed["tree_unshared"], 2),
        "single_to_several": round(speed["thinking_single"] / speed["thinking_several"], 2),
        "thinking_difference": differ[0],
        "device": torch.cuda.get_device_name() if GPU else f"{torch.get_num_threads()} thread(s) of a CPU",
    }


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="Only the line of JSON.")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        found = measure(TINY if given.tiny else ON_GPU if GPU else Size(), Path(out))
    if not given.json:
        for name, value in found.items():
            print(f"{name:>20} {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
