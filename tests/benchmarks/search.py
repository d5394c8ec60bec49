"""What a tree costs: returning to states, and keeping the sampler's batch full.

``python -m tests.benchmarks.search --json`` prints one line of JSON last, measured in turns within one run, the best of several:

- `nodes_per_s_snapshot`: siblings tried per second in a state of `desk/Orders-v0` that is eight actions deep, by its snapshot;
- `nodes_per_s_replay`: the same where the environment is reset and given the eight actions again;
- `sampler_share`: sampled tokens per second of a search with 32 trees at once, as a share of what the sampler makes of the very
  same requests without any environment or tree.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import agentgym
from agentgym import Message, assistant, call
from agentgym.sampling import Sample, SampleRequest, Scripted
from agentgym.sampling.transformers import TransformersSampler
from agentgym_envs.desk.env import Orders
from agentgym_training.nano import init_model
from agentgym_trajectories.episode import Walk
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.players import Deadlines, LocalPlayers
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.search import Budget, Search
from agentgym_trajectories.search.branch import Branch, Shared
from agentgym_trajectories.tree import Episode

ENV = "desk/Orders-v0"
DEPTH, SIBLINGS, TREES = 8, 2000, 32


class Replayed(Orders):
    """The desk as if its state could not be copied."""

    replays = True


def action(number: int) -> Message:
    """One of many different actions that leave the episode open."""
    return assistant("", call("find_product", name=f"thing {number}"))


async def nodes_per_second(env: agentgym.Environment) -> float:
    """Siblings tried per second, eight actions deep."""
    env.max_turns = DEPTH + 2
    sampler = Scripted(lambda _: "")
    episode = Episode(ENV, env.tasks()[0], 0, "v")
    walk = Walk(Branch(Shared(Host(env))), sampler, episode, 0)
    await walk.start()
    for number in range(DEPTH):
        assert await walk.take(Sample(action(number)))
    began = time.perf_counter()
    for number in range(SIBLINGS):
        assert isinstance(walk.host, Branch)
        assert await walk.fork(walk.host.fork()).take(Sample(action(number)))
    return SIBLINGS / (time.perf_counter() - began)


class Recording(TransformersSampler):
    """A sampler that remembers what it was asked, call by call."""

    calls: list[list[SampleRequest]]

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        self.calls.append([SampleRequest((), (), list(r.prompt_ids or ()), r.seed) for r in requests])
        return await super().sample(requests)


async def searched(sampler: Recording) -> float:
    """Tokens per second of a search over as many trees as are in flight, twice."""
    search = Search(width=4, budget=Budget(8))
    players = LocalPlayers(ENV, {}, sampler, Deadlines(), search.play, "search")
    tokens, began = sampler.usage.sampled_tokens, time.perf_counter()
    await Rollout(ENV, concurrency=TREES).play(Orders().tasks()[: 2 * TREES], players, Memory())
    return (sampler.usage.sampled_tokens - tokens) / (time.perf_counter() - began)


async def alone(sampler: TransformersSampler, calls: list[list[SampleRequest]]) -> float:
    """Tokens per second of the same calls, as many at once."""
    waiting = iter(calls)

    async def work() -> None:
        for requests in waiting:
            await sampler.sample(requests)

    tokens, began = sampler.usage.sampled_tokens, time.perf_counter()
    await asyncio.gather(*(work() for _ in range(TREES)))
    return (sampler.usage.sampled_tokens - tokens) / (time.perf_counter() - began)


async def share(directory: Path, rounds: int) -> float:
    """Search against the sampler alone."""
    recording = Recording(directory, max_tokens=32)
    best = {"search": 0.0, "alone": 0.0}
    for _ in range(rounds):
        recording.calls = []
        best["search"] = max(best["search"], await searched(recording))
        calls, recording.calls = recording.calls, []
        best["alone"] = max(best["alone"], await alone(recording, calls))
    await recording.close()
    return best["search"] / best["alone"]


def main(rounds: int = 2) -> dict[str, float]:
    """Measure everything."""
    kinds = {"nodes_per_s_snapshot": Orders, "nodes_per_s_replay": Replayed}
    found = dict.fromkeys(kinds, 0.0)
    for _ in range(rounds):
        for name, kind in kinds.items():
            found[name] = max(found[name], round(asyncio.run(nodes_per_second(kind())), 1))
    sink = Memory()
    asyncio.run(Rollout(ENV, concurrency=8).run(Orders().tasks()[:200], agentgym.sampling.oracle(), sink))
    with tempfile.TemporaryDirectory() as folder:
        init_model([(t.messages, t.episode.tools) for e in sink.episodes for t in e.trajectories()], Path(folder), warmup_steps=2)
        found["sampler_share"] = round(asyncio.run(share(Path(folder), rounds)), 3)
    return found


if __name__ == "__main__":
    measured = main()
    if "--json" not in sys.argv:
        print(f"{measured['nodes_per_s_snapshot']:,.0f} nodes/s by snapshots, {measured['nodes_per_s_replay']:,.0f} by replay;")
        print(f"with {TREES} trees the sampler makes {measured['sampler_share']:.2f} of its tokens")
    print(json.dumps(measured))
