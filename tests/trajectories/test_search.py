"""Search: golden trees against numbers worked out by hand and a slow implementation of its own, and the pitfalls of the field."""

import asyncio
import gc
import json
import math
import random
import sqlite3
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import agentgym
from agentgym import Environment, EnvironmentFailure, Task, Tasks, assistant, call, tool
from agentgym.sampling import Sample, SampleRequest, Scripted
from agentgym.sampling.transformers import TransformersSampler, load, score
from agentgym_trajectories.players import Deadlines, LocalPlayers
from agentgym_trajectories.rollout import Memory, Progress, Rollout
from agentgym_trajectories.search import (
    PUCT,
    UCB1,
    Beam,
    BestFirst,
    Budget,
    Critique,
    Earned,
    Mix,
    Pieces,
    RollOut,
    Scored,
    Search,
    search_named,
)
from agentgym_trajectories.search.expansion import pieces
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode, Node

ENV = "test/Bandit-v0"
LEAVES = {"000": 0.0, "001": 0.1, "010": 0.3, "011": 1.0, "100": 0.6, "101": 0.6, "110": 0.5, "111": 0.2}
TRAP = {"000": 0.0, "001": 0.0, "010": 0.0, "011": 1.0, "100": 0.4, "101": 0.4, "110": 0.4, "111": 0.4}


class Bandit(Environment):
    """Three choices between two levers; what they earned is known at the end.

    Args:
        leaves: Reward of each sequence.
        noise: Share of pulls that go the other way.
        lost: Come back in another state than the one that was left.
    """

    max_turns = 5

    def __init__(self, leaves: dict[str, float] = LEAVES, noise: float = 0.0, lost: bool = False, replays: bool = False) -> None:
        self.leaves, self.noise, self.lost, self.replays = leaves, noise, lost, replays

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(f"Pull, number {i}.", {}, f"{split}-{i}", split), range(1000))

    def begin(self, task: Task) -> str:
        self.state = ""
        return task.prompt

    @tool
    def pull(self, lever: int) -> str:
        """Pull a lever."""
        self.state += str(1 - lever if self.np_random.random() < self.noise else lever)
        if len(self.state) == 3:
            self.end()
        return self.state

    def score(self, answer: str) -> dict[str, float]:
        return {"earned": self.leaves.get(self.state, 0.0)}

    def copy_state(self, state: Any) -> Any:
        return state + "?" if self.lost and state else state


class Levers(Scripted):
    """Proposes lever 0, lever 1, lever 0 ... of one state; alone it takes `alone`. Levers come with logprobs, 1 being likelier."""

    def __init__(self, alone: Callable[[SampleRequest], int] = lambda _: 0) -> None:
        super().__init__(lambda _: assistant(""))
        self.alone, self.asked = alone, 0

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        self.asked += len(requests)
        await asyncio.sleep(0)
        taken = [self.alone(requests[0])] if len(requests) == 1 else [i % 2 for i in range(len(requests))]
        return [Sample(assistant("", call("pull", lever=i)), None, [-0.5 if i else -1.5], version="levers") for i in taken]


def grow(search: Search, sampler: Any = None, tasks: int = 1, sink: Any = None, **args: Any) -> tuple[Any, Progress]:
    agentgym.register(ENV, Bandit)
    sampler, sink = sampler or Levers(), sink or Memory()
    players = LocalPlayers(ENV, args, sampler, Deadlines(), search.play, search.version(sampler.version))
    plan = Rollout(ENV, args, concurrency=8, attempts=1)
    return sink, asyncio.run(plan.play(Bandit().tasks()[:tasks], players, sink))


def levers(actions: Iterable[Node]) -> str:
    return "".join(str((n.messages[0].tool_calls[0].arguments or {})["lever"]) for n in actions)


def statistics(episode: Episode) -> dict[str, tuple[int, float]]:
    """Visits and value of each action that was searched, by the levers up to it."""
    return {levers(episode.trajectory(n.id).actions): (n.visits, round(n.value or 0.0, 12)) for n in episode.nodes if n.visits}


Bound = Callable[[float, int, int, str], float]


def slow_search(leaves: dict[str, float], bound: Bound, simulations: int) -> dict[str, tuple[int, float]]:
    """The same search written for sequences alone: totals instead of means, no tree, roll-outs that always pull 0.

    Ends are counted once: a sequence is settled when it is whole and was visited, or both of its continuations are settled.
    """

    def settled(at: str) -> bool:
        return visits.get(at, 0) > 0 if len(at) == 3 else at in expanded and settled(at + "0") and settled(at + "1")

    visits: dict[str, int] = {}
    totals: dict[str, float] = {}
    expanded: set[str] = set()
    for _ in range(simulations):
        if settled(""):
            break
        at = ""
        while True:
            fresh = at not in expanded
            expanded.add(at)
            here = sum(visits.get(at + x, 0) for x in "01")
            scores = {}
            for x in "01":
                if settled(at + x):
                    continue
                n = visits.get(at + x, 0)
                scores[at + x] = bound(totals.get(at + x, 0.0) / n if n else 0.0, n, here, x)
            at = max(sorted(scores), key=lambda k: scores[k])
            if fresh or len(at) == 3 or not visits.get(at):
                break
        value = leaves[at.ljust(3, "0")]
        for length in range(1, len(at) + 1):
            visits[at[:length]] = visits.get(at[:length], 0) + 1
            totals[at[:length]] = totals.get(at[:length], 0.0) + value
    return {k: (n, round(totals[k] / n, 12)) for k, n in visits.items()}


def ucb1(c: float) -> Bound:
    return lambda q, n, here, _: q + c * math.sqrt(math.log(max(here, 1)) / (1 + n))


def puct(w: float) -> Bound:
    return lambda q, n, here, x: q + w * math.exp(-0.5 if x == "1" else -1.5) * math.sqrt(max(here, 1)) / (1 + n)


@pytest.mark.parametrize("leaves", [LEAVES, TRAP])
@pytest.mark.parametrize("simulations", [1, 2, 3, 7, 20, 60])
@pytest.mark.parametrize("c", [0.2, 1.0, 3.0])
def test_ucb1_is_that_of_the_slow_search(leaves: dict[str, float], simulations: int, c: float) -> None:
    sink, _ = grow(Search(choice=UCB1(c), width=2, budget=Budget(simulations)), leaves=leaves)
    assert statistics(sink.episodes[0]) == slow_search(leaves, ucb1(c), simulations)


@pytest.mark.parametrize("leaves", [LEAVES, TRAP])
@pytest.mark.parametrize("simulations", [1, 5, 40])
@pytest.mark.parametrize("w", [0.3, 2.0])
def test_puct_is_that_of_the_slow_search(leaves: dict[str, float], simulations: int, w: float) -> None:
    sink, _ = grow(Search(choice=PUCT(w), width=2, budget=Budget(simulations)), leaves=leaves)
    assert statistics(sink.episodes[0]) == slow_search(leaves, puct(w), simulations)


def test_the_first_simulations_by_hand() -> None:
    """UCB1 with c = 1: 0 rolls out to 000 (0.0); ln 1 = 0 leaves both at 0, and the first is taken again, where 00 leads to 000
    (0.0); then 1 has sqrt(ln 2) against sqrt(ln 2 / 3), and rolls out to 100 (0.6); then 1 again, where 10 leads to 100 (0.6)."""
    sink, _ = grow(Search(choice=UCB1(1.0), width=2, budget=Budget(4)))
    assert statistics(sink.episodes[0]) == {"0": (2, 0.0), "00": (1, 0.0), "1": (2, 0.6), "10": (1, 0.6)}


def test_a_search_finds_what_a_trap_hides() -> None:
    """Pulling 1 first always earns 0.4 and 0 first mostly nothing, but the best leaf is behind 0."""
    sink, _ = grow(Search(choice=UCB1(1.0), width=2, budget=Budget(40)), leaves=TRAP)
    assert max(t.reward for t in sink.episodes[0].trajectories()) == 1.0
    greedy, _ = grow(Search(choice=UCB1(0.0), width=2, budget=Budget(40)), leaves=TRAP, sampler=Levers(lambda _: 1))
    assert max(t.reward for t in greedy.episodes[0].trajectories()) == 1.0  # the roll-out of 0 pulls 1 twice


@pytest.mark.parametrize("replays", [False, True])
def test_a_stochastic_state_draws_the_same_whenever_it_is_returned_to(replays: bool) -> None:
    search = Search(choice=UCB1(1.0), width=2, budget=Budget(30))
    first, _ = grow(search, tasks=20, noise=0.3, replays=replays)
    again, _ = grow(search, tasks=20, noise=0.3, replays=not replays)
    assert [statistics(e) for e in first.episodes] == [statistics(e) for e in again.episodes]
    assert len({json.dumps(statistics(e)) for e in first.episodes}) > 5  # tasks have chances of their own
    for episode in first.episodes:
        for node in episode.nodes:
            if node.kind == "action" and node.visits == 1 and node.end is not None:
                assert node.value == node.reward


def test_a_state_that_does_not_come_back_is_a_failure_and_no_branch() -> None:
    sink, progress = grow(Search(width=2, budget=Budget(10)), lost=True)
    assert (progress.played, progress.failed) == (0, 1)
    assert "came back as state" in str(sink.failures[0][2])


class Forgetful(Bandit):
    """Draws from a generator that no seed knows."""

    def __init__(self) -> None:
        super().__init__(replays=True)
        self.chance = random.Random(1)

    @tool
    def pull(self, lever: int) -> str:
        """Pull a lever."""
        self.state += str(self.chance.randrange(10**6))
        return self.state


class Database:
    """Pulls in an SQLite file that goes when nobody holds it."""

    def __init__(self, folder: Path, source: "Database | None" = None) -> None:
        self.file = folder / f"{uuid.uuid4()}.db"
        with closing(sqlite3.connect(self.file)) as db:
            if source is None:
                db.execute("CREATE TABLE pulls (lever INTEGER)")
            else:
                with closing(sqlite3.connect(source.file)) as other:
                    other.backup(db)
        weakref.finalize(self, self.file.unlink)

    def query(self, sql: str, *values: int) -> str:
        with closing(sqlite3.connect(self.file)) as db, db:
            return "".join(str(lever) for (lever,) in db.execute(sql, values))


class Ledger(Bandit):
    """The bandit with its state in a database: returning to a state is returning to a checkpoint, a backup of the file."""

    def __init__(self, folder: str, lost: bool = False) -> None:
        super().__init__(lost=lost)
        self.folder = Path(folder)

    def begin(self, task: Task) -> str:
        self.state = Database(self.folder)
        return task.prompt

    @property
    def pulled(self) -> str:
        return self.state.query("SELECT lever FROM pulls ORDER BY rowid")

    @tool
    def pull(self, lever: int) -> str:
        """Pull a lever."""
        self.state.query("INSERT INTO pulls VALUES (?)", lever)
        if len(self.pulled) == 3:
            self.end()
        return self.pulled

    def score(self, answer: str) -> dict[str, float]:
        return {"earned": self.leaves[self.pulled]}

    def copy_state(self, state: Database) -> Database:
        copy = Database(self.folder, state)
        if self.lost and self.pulled:
            copy.query("DELETE FROM pulls WHERE rowid = 1")
        return copy

    def state_key(self) -> str:
        return self.pulled


def test_checkpoints_are_returned_to_and_freed(tmp_path: Path) -> None:
    search = Search(choice=UCB1(1.0), width=2, budget=Budget(24))
    copied, _ = grow(search)
    agentgym.register("test/Ledger-v0", Ledger)
    for lost in (False, True):
        args, sink = {"folder": str(tmp_path), "lost": lost}, Memory()
        players = LocalPlayers("test/Ledger-v0", args, Levers(), Deadlines(), search.play, "levers")
        progress = asyncio.run(Rollout("test/Ledger-v0", args, attempts=1).play(Bandit().tasks()[:1], players, sink))
        assert (progress.played, progress.failed) == (not lost, lost)
        assert [statistics(e) for e in sink.episodes] == [statistics(e) for e in copied.episodes] * (not lost)
        assert all(isinstance(f, EnvironmentFailure) and "state" in str(f) for _, _, f in sink.failures)
        del sink
    del players
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_replay_that_leads_elsewhere_is_a_failure() -> None:
    agentgym.register("test/Forgetful-v0", Forgetful)
    search, sink = Search(width=2, budget=Budget(10)), Memory()
    players = LocalPlayers("test/Forgetful-v0", {}, Levers(), Deadlines(), search.play, "x")
    progress = asyncio.run(Rollout("test/Forgetful-v0", attempts=2).play(Forgetful().tasks()[:3], players, sink))
    assert (progress.played, progress.failed, len(sink.failures)) == (0, 3, 6)
    assert all(isinstance(f, EnvironmentFailure) and "replayed" in str(f) for _, _, f in sink.failures)


def test_near_duplicates_become_one() -> None:
    sink, _ = grow(Search(width=6, budget=Budget(1)))
    assert sum(n.parent == 0 for n in sink.episodes[0].nodes) == 2
    plain, _ = grow(Search(width=6, merge=False, budget=Budget(1)))
    assert sum(n.parent == 0 for n in plain.episodes[0].nodes) == 6


def test_best_of_n_is_so_many_attempts() -> None:
    sampler = Levers(lambda r: random.Random(r.seed).randrange(2))
    sink, _ = grow(replace(search_named("best-of-n"), width=8, budget=Budget(8)), sampler=sampler)
    (episode,) = sink.episodes
    assert len(list(episode.trajectories())) == 8
    assert sampler.asked == 24


@pytest.mark.parametrize("name", ["agent-q", "mcts", "mcts-dpo", "itool", "lats", "multi-branch", "tree-grpo", "best-of-n"])
def test_every_named_search_grows_the_same_tree_again(name: str) -> None:
    def tree(episode: Episode) -> list[tuple[Any, ...]]:
        return [(n.id, n.parent, n.kind, n.state_key, n.reward, n.visits, n.value, n.rank) for n in episode.nodes]

    sampler = lambda: Levers(lambda r: random.Random(r.seed).randrange(2))  # noqa: E731
    one, _ = grow(search_named(name), sampler=sampler(), tasks=5)
    two, _ = grow(search_named(name), sampler=sampler(), tasks=5)
    key = lambda e: e.task.id  # noqa: E731
    assert [tree(e) for e in sorted(one.episodes, key=key)] == [tree(e) for e in sorted(two.episodes, key=key)]


@pytest.mark.parametrize("leaves", [2, 4])
def test_several_leaves_at_once_are_repeatable_and_go_apart(leaves: int) -> None:
    search = Search(choice=UCB1(1.0), width=2, leaves=leaves, budget=Budget(12))
    sampler = lambda: Levers(lambda r: random.Random(r.seed).randrange(2))  # noqa: E731
    one, _ = grow(search, sampler=sampler(), noise=0.2)
    two, _ = grow(search, sampler=sampler(), noise=0.2)
    assert statistics(one.episodes[0]) == statistics(two.episodes[0])
    assert sum(n for path, (n, _) in statistics(one.episodes[0]).items() if len(path) == 1) == 12
    check(one.episodes[0])


def test_a_tree_in_which_nothing_is_left_to_find_is_done() -> None:
    """Ends are counted once, so that simulations go where something is still unknown."""
    sink, _ = grow(Search(width=2, budget=Budget(simulations=None, nodes=1000)))
    found = statistics(sink.episodes[0])
    assert {path: value for path, (_, value) in found.items() if len(path) == 3} == LEAVES
    assert all(visits == 1 for path, (visits, _) in found.items() if len(path) == 3)


def check(episode: Episode) -> None:
    """What holds in every tree: paths are whole, and rewards and states are those of the actions above."""
    for number, node in enumerate(episode.nodes):
        assert node.id == number > node.parent
        if node.kind == "action":
            assert episode.nodes[node.parent].kind == "observation"
    for trajectory in episode.trajectories():
        assert len(levers(trajectory.actions)) == 3
        assert trajectory.leaf.end is not None


def test_budgets_end_a_tree() -> None:
    for budget, most in ((Budget(None, nodes=9), 14), (Budget(None, seconds=0.05), 10**6)):
        sink, _ = grow(Search(width=2, budget=budget))
        assert sum(n.kind == "action" for n in sink.episodes[0].nodes) <= most
    sink, _ = grow(Search(width=2, budget=Budget(100), until=0.6))
    assert max(t.reward for t in sink.episodes[0].trajectories()) == 0.6


def test_best_first_and_beam() -> None:
    known = {"": 0.0, "0": 0.2, "1": 0.6, "00": 0.1, "01": 0.9, "10": 0.5, "11": 0.4}

    def worth(trajectory: Any) -> float:
        return known[levers(trajectory.actions)]

    def expanded(choice: Any) -> list[str]:
        sink, _ = grow(Search(choice=choice, value=Scored(worth), width=2, budget=Budget(100)))
        episode = sink.episodes[0]
        parents = [n.parent for n in episode.nodes if n.kind == "action"]
        states = [episode.trajectory(episode.nodes[p].parent).actions if p else () for p in dict.fromkeys(parents)]
        return [levers(s) for s in states]

    assert expanded(BestFirst()) == ["", "1", "10", "11", "0", "01", "00"]
    assert expanded(Beam(1)) == ["", "1", "10"]
    assert expanded(Beam(2)) == ["", "1", "0", "01", "10"]


class Judge(Scripted):
    """Prefers the highest lever; answers with its number in the list, or nonsense."""

    def __init__(self, sane: bool = True) -> None:
        super().__init__(lambda r: self.judge(r.messages[-1].content))
        self.sane = sane

    def judge(self, question: str) -> str:
        lines = question.splitlines()[1:]
        best = max(lines, key=lambda line: int(line.rpartition("lever=")[2].strip(")")))
        return f"Number {best.split('.')[0]}." if self.sane else "All of them are fine."


class Many(Levers):
    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        return [Sample(assistant("", call("pull", lever=i))) for i in range(len(requests))]


def test_a_critic_ranks_by_taking_the_best_away() -> None:
    sink, _ = grow(Search(ranking=Critique(Judge()), width=4, budget=Budget(1)), sampler=Many())
    assert [n.rank for n in sink.episodes[0].nodes if n.parent == 0] == [0.0, 1 / 3, 2 / 3, 1.0]
    sink, _ = grow(Search(ranking=Critique(Judge(sane=False)), width=4, budget=Budget(1)), sampler=Many())
    assert [n.rank for n in sink.episodes[0].nodes if n.parent == 0] == [None] * 4


def test_values_may_be_mixed() -> None:
    mixed = Mix(((0.5, RollOut()), (0.25, Scored(lambda _: 2.0)), (1.0, Earned())))
    sink, _ = grow(Search(value=mixed, choice=UCB1(0.0), width=2, budget=Budget(1)))
    assert statistics(sink.episodes[0]) == {"0": (1, 0.5)}


@pytest.mark.parametrize("kills", [10])
def test_a_search_that_is_stopped_again_and_again_ends_with_the_same_trees(kills: int, tmp_path: Path) -> None:
    search = Search(width=2, budget=Budget(12))
    sampler = lambda: Levers(lambda r: random.Random(r.seed).randrange(2))  # noqa: E731
    with Store(tmp_path / "whole", create=True) as store:
        grow(search, sampler=sampler(), tasks=60, sink=store)
        whole = {e.task.id: statistics(e) for e in store.episodes()}
    agentgym.register(ENV, Bandit)

    async def part(seconds: float, sink: Store) -> None:
        players = LocalPlayers(ENV, {}, sampler(), Deadlines(), search.play, search.version("scripted"))
        run = asyncio.create_task(Rollout(ENV, {}, concurrency=8).play(Bandit().tasks()[:60], players, sink))
        await asyncio.wait({run}, timeout=seconds)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    for turn in range(kills):
        with Store(tmp_path / "parts", create=True) as store:
            asyncio.run(part(0.01 if turn < kills - 1 else 60.0, store))
    with Store(tmp_path / "parts") as store:
        assert {e.task.id: statistics(e) for e in store.episodes()} == whole


def test_pieces_of_an_action_are_written_anew(nano_dir: Path) -> None:
    """Siblings share what stands before a piece, token by token, and what they wrote is what the policy would have said."""
    sampler = TransformersSampler(nano_dir, temperature=1.0, max_tokens=24)
    assert sampler.chat is not None
    call_ids = sampler.chat.encode('<tool_call>\n{"name": "f", "arguments": {"a": 1, "b": 2}}\n</tool_call>')
    texts = [sampler.chat.tokenizer.decode([i]) for i in call_ids]
    starts = pieces(sampler.chat, call_ids)
    assert starts[0] == 0
    assert {"".join(texts[:i]).rstrip()[-1] for i in starts[1:]} <= set(",:{>}")

    search = Search(choice=UCB1(), width=6, expansion=Pieces(), merge=False, budget=Budget(2))
    sink = Memory()
    players = LocalPlayers("desk/Orders-v0", {}, sampler, Deadlines(), search.play, "pieces")
    tasks = agentgym.make("desk/Orders-v0").unwrapped.tasks()[:3]
    asyncio.run(Rollout("desk/Orders-v0").play(tasks, players, sink))
    model, _ = load(nano_dir)
    for episode in sink.episodes:
        first = [n for n in episode.nodes if n.kind == "action" and n.parent == 0]
        assert len(first) == 6
        whole = first[0].token_ids or []
        edges = pieces(sampler.chat, whole)
        for node in first:
            ids, logprobs = node.token_ids or [], node.logprobs or []
            shared = next((i for i, both in enumerate(zip(whole, ids, strict=False)) if len(set(both)) > 1), len(ids))
            assert any(edge <= shared for edge in edges)
            assert sampler.chat.parse(ids) == node.messages[0]
            known = score(model, (episode.nodes[0].token_ids or []) + ids)[-len(ids) :]
            assert logprobs == pytest.approx(known, abs=1e-3)


def test_what_cannot_be_cut_is_sampled_whole() -> None:
    sampler = Levers(lambda r: random.Random(r.seed).randrange(2))
    one, _ = grow(Search(choice=UCB1(), expansion=Pieces()), sampler=sampler)
    two, _ = grow(Search(choice=UCB1()), sampler=sampler)
    assert statistics(one.episodes[0]) == statistics(two.episodes[0])
