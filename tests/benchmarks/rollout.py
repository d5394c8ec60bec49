"""Episodes per CPU-second of the "add chain": five calls of an `add` tool, then an answer, by a scripted policy.

``python -m tests.benchmarks.rollout --json`` prints one line of JSON last: `bare` (plain Python that keeps nothing), `memory` (our
engine, all records kept in memory), `stored` (all records written to the store) and `peers` (other projects by name, those that
`make peers` has installed), measured in turns within one run, best of several rounds, since other work on the machine only ever
slows a round down.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import agentgym
from agentgym import Environment, Message, Task, Tasks, assistant, call, tool
from agentgym.sampling import SampleRequest, Scripted
from agentgym_trajectories.rollout import Memory, Rollout, Sink
from agentgym_trajectories.store import Store
from tests.benchmarks import peers
from tests.benchmarks.chain import CALLS, INSTRUCTIONS, PROMPT, SUM, arguments, per_cpu_second


class AddChain(Environment):
    """Add six numbers with five calls."""

    instructions = INSTRUCTIONS

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(PROMPT, {"sum": SUM}, f"{split}-{i}", split), range(10**9))

    @tool
    def add(self, a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    def score(self, answer: str) -> dict[str, float]:
        return {"correct": float(answer == self.task.data["sum"])}


def policy(request: SampleRequest) -> Message:
    """Add the last result and the next number."""
    turn: int = request.env.turn
    seen = request.messages[-1].content
    return assistant(seen) if turn == CALLS else assistant("", call("add", **arguments(turn, seen)))


def ours(sink: Sink, episodes: int) -> None:
    """Through the rollout engine."""
    progress = asyncio.run(Rollout("bench/AddChain-v0").run(AddChain().tasks()[:episodes], Scripted(policy), sink))
    assert progress.played == episodes


def bare(episodes: int) -> None:
    """The same conversation in plain Python: JSON calls, a tool, a list of messages, a reward; nothing kept."""
    tools = {"add": lambda a, b: str(a + b)}
    for _ in range(episodes):
        messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": PROMPT}]
        total = ""
        for turn in range(CALLS):
            text = json.dumps({"name": "add", "arguments": arguments(turn, total)})
            messages.append({"role": "assistant", "content": text})
            request = json.loads(text)
            total = tools[request["name"]](**request["arguments"])
            messages.append({"role": "tool", "content": total})
        messages.append({"role": "assistant", "content": total})
        assert float(total == SUM) == 1.0


def stored(episodes: int) -> None:
    """Every record durably in a store."""
    with tempfile.TemporaryDirectory() as folder, Store(folder, create=True) as store:
        ours(store, episodes)
        assert store.query("SELECT count(*) FROM episodes WHERE success") == [(episodes,)]


def main(episodes: int = 5000, rounds: int = 3) -> dict[str, Any]:
    """Measure all three and the peers, in turns."""
    agentgym.register("bench/AddChain-v0", AddChain)
    runs: dict[str, Callable[[int], None]] = {"bare": bare, "stored": stored, "memory": lambda n: ours(Memory(), n)}
    best = dict.fromkeys(runs, 0.0)
    best_peers = peers.installed(peers.CHAIN)
    for _ in range(rounds):
        for name, run in runs.items():
            best[name] = max(best[name], per_cpu_second(run, episodes))
        best_peers = peers.play(best_peers)
    return {**best, "peers": best_peers}


if __name__ == "__main__":
    measured = main()
    if "--json" not in sys.argv:
        for name, speed in {**measured, **measured["peers"]}.items():
            if name != "peers":
                print(f"{name:>9}: {speed:10,.0f} episodes per CPU-second")
    print(json.dumps(measured))
