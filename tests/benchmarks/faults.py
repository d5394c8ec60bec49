"""What faults cost: 256 episodes at 32 concurrent, in groups of 8, with 5 % of environments failing and 5 % ten times slower.

``python -m tests.benchmarks.faults --json`` prints one line of JSON last: seconds `without` and `with` faults, the slow tail's own
length `tail` (one slow episode), and `ratio`, (with - tail) / without. The environment waits 20 ms a step, in threads.
"""

import asyncio
import json
import random
import sys
import time

import agentgym
from agentgym import EnvironmentFailure
from agentgym.sampling import Scripted
from agentgym_trajectories.rollout import Memory, Rollout
from tests.benchmarks.rollout import AddChain, policy

STEP, SLOWER = 0.02, 10
ENV = "bench/Faulty-v0"


class Faulty(AddChain):
    """The add chain, waiting; an episode may fail in some step, or be slow.

    Args:
        failing: Share of episodes that fail in one of their steps.
        slow: Share of episodes that are `SLOWER` times slower.
    """

    blocking = True

    def __init__(self, failing: float = 0.0, slow: float = 0.0) -> None:
        self.failing, self.slow = failing, slow

    def begin(self, task: agentgym.Task) -> str:
        rng = random.Random(int(self.np_random.integers(2**31)))
        self.fails_at = rng.randrange(6) if rng.random() < self.failing else -1
        self.wait = STEP * (SLOWER if rng.random() < self.slow else 1)
        return super().begin(task)

    def shape(self) -> dict[str, float]:
        time.sleep(self.wait)
        if self.turn - 1 == self.fails_at:
            raise EnvironmentFailure("broken")
        return {}


def run(seed: int, **faults: float) -> tuple[float, Memory]:
    """Seconds, and what was played."""
    sink, began = Memory(), time.perf_counter()
    plan = Rollout(ENV, faults, samples=8, seed=seed, concurrency=32)
    progress = asyncio.run(plan.run(AddChain().tasks()[:32], Scripted(policy), sink))
    assert progress.played == 256, progress
    return time.perf_counter() - began, sink


def main(rounds: int = 3) -> dict[str, float]:
    """Measure both, in turns, each round with its own seed; the medians are reported."""
    agentgym.register(ENV, Faulty)
    with_faults, without = [], []
    for seed in range(rounds):
        without.append(run(seed)[0])
        seconds, sink = run(seed, failing=0.05, slow=0.05)
        with_faults.append(seconds)
        groups = {(e.task.id, e.sample) for e in sink.episodes}
        assert len(groups) == 256
        assert all(t.reward == 1.0 for e in sink.episodes for t in e.trajectories())
    plain, faulty, tail = sorted(without)[rounds // 2], sorted(with_faults)[rounds // 2], 6 * STEP * SLOWER
    measured = {"without": plain, "with": faulty, "tail": tail, "ratio": (faulty - tail) / plain}
    return {name: round(value, 3) for name, value in measured.items()}


if __name__ == "__main__":
    found = main()
    if "--json" not in sys.argv:
        print(f"{found['ratio']:.2f} times the time without faults, plus the slow tail's {found['tail']:.1f} s")
    print(json.dumps(found))
