"""Episodes per CPU-second of the "add chain": five calls of an `add` tool, then an answer, by a scripted policy.

``python -m tests.benchmarks.rollout --json`` prints one line of JSON last: `bare` (plain Python that keeps nothing), `memory` (our
engine, all records kept in memory) and `stored` (all records written to the store), measured in turns within one run, best of
several rounds, since other work on the machine only ever slows a round down.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable

import agentgym
from agentgym import Environment, Message, Task, Tasks, assistant, call, tool
from agentgym.sampling import SampleRequest, Scripted
from agentgym_trajectories.rollout import Memory, Rollout, Sink
from agentgym_trajectories.store import Store

NUMBERS = (3, 1, 4, 1, 5, 9)
PROMPT = f"Add {', '.join(map(str, NUMBERS))}."
INSTRUCTIONS = "Add the numbers one after the other with the tool, then answer with the sum."


class AddChain(Environment):
    """Add six numbers with five calls."""

    instructions = INSTRUCTIONS

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(PROMPT, {"sum": sum(NUMBERS)}, f"{split}-{i}", split), range(10**9))

    @tool
    def add(self, a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    def score(self, answer: str) -> dict[str, float]:
        return {"correct": float(answer == str(self.task.data["sum"]))}


def policy(request: SampleRequest) -> Message:
    """Add the last result and the next number."""
    turn: int = request.env.turn
    if turn == 5:
        return assistant(request.messages[-1].content)
    total = NUMBERS[0] if turn == 0 else int(request.messages[-1].content)
    return assistant("", call("add", a=total, b=NUMBERS[turn + 1]))


def ours(sink: Sink, episodes: int) -> None:
    """Through the rollout engine."""
    progress = asyncio.run(Rollout("bench/AddChain-v0").run(AddChain().tasks()[:episodes], Scripted(policy), sink))
    assert progress.played == episodes


def bare(episodes: int) -> None:
    """The same conversation in plain Python: JSON calls, a tool, a list of messages, a reward; nothing kept."""
    tools = {"add": lambda a, b: str(a + b)}
    for _ in range(episodes):
        messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": PROMPT}]
        total = str(NUMBERS[0])
        for turn in range(5):
            text = json.dumps({"name": "add", "arguments": {"a": int(total), "b": NUMBERS[turn + 1]}})
            messages.append({"role": "assistant", "content": text})
            request = json.loads(text)
            total = tools[request["name"]](**request["arguments"])
            messages.append({"role": "tool", "content": total})
        messages.append({"role": "assistant", "content": total})
        assert float(total == str(sum(NUMBERS))) == 1.0


def per_cpu_second(run: Callable[[int], None], episodes: int) -> float:
    """Episodes per second of this process's CPU time, all threads counted."""
    began = time.process_time()
    run(episodes)
    return episodes / (time.process_time() - began)


def stored(episodes: int) -> None:
    """Every record durably in a store."""
    with tempfile.TemporaryDirectory() as folder, Store(folder, create=True) as store:
        ours(store, episodes)
        assert store.query("SELECT count(*) FROM episodes WHERE success") == [(episodes,)]


def main(episodes: int = 5000, rounds: int = 3) -> dict[str, float]:
    """Measure all three, in turns."""
    agentgym.register("bench/AddChain-v0", AddChain)
    runs: dict[str, Callable[[int], None]] = {"bare": bare, "stored": stored, "memory": lambda n: ours(Memory(), n)}
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            best[name] = max(best.get(name, 0.0), round(per_cpu_second(run, episodes), 1))
    return best


if __name__ == "__main__":
    measured = main()
    if "--json" not in sys.argv:
        for name, speed in measured.items():
            print(f"{name:>8}: {speed:10,.0f} episodes per CPU-second")
    print(json.dumps(measured))
