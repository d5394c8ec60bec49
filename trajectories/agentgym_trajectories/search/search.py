"""One search for all: select, expand, evaluate, back up, over states that can be returned to.

A search is a way to play an episode, so the rollout engine runs it: as many trees at once as episodes in flight, which keeps the
sampler's batch full; a killed run goes on with the trees that are missing; what breaks is tried again, and is never a value.
Within a tree, `leaves` simulations go on together, kept apart by virtual loss. They sample together but are written down in
their order, so that a tree depends on its seeds alone.

The tree is an episode whose nodes say what the search learnt: an action that simulations went through has their number as
`visits` and the mean of what they returned as `value`. Actions never evaluated, and those of roll-outs, have neither.
"""

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from agentgym import Message, UserError
from agentgym.sampling import Sample, Sampler
from agentgym_trajectories.episode import Pulse, Walk
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.tree import Episode, Node

from .branch import Branch, Shared
from .choices import UCB1, Choice
from .expansion import Expansion, Whole
from .tree import Edge, State
from .values import Estimate, Ranking, RollOut, Value


@dataclass(frozen=True)
class Budget:
    """When a tree is done: as soon as one of these is used up.

    Attributes:
        simulations: Paths followed and backed up.
        nodes: Actions in the tree, those of roll-outs included.
        tokens: Tokens sampled, merged duplicates included. (Critics are not counted here; the sampler's usage counts them.)
        seconds: Wall-clock time; such a tree cannot be repeated.
    """

    simulations: int | None = 16
    nodes: int | None = None
    tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Search:
    """What to search for and how.

    Attributes:
        name: Names the kind in the records.
        choice: Where to go on.
        value: What states are worth.
        ranking: Orders the actions of a state when it is expanded; None for no order.
        width: Actions sampled for each state that is expanded; None for one in each simulation of the budget.
        expansion: How these are sampled.
        merge: Whether near-duplicates among them become one.
        leaves: Simulations under way at once in one tree.
        budget: When it ends.
        until: End as soon as a finished path has earned so much; None to go on. For inference.
    """

    name: str = "mcts"
    choice: Choice = field(default_factory=UCB1)
    value: Value = field(default_factory=RollOut)
    ranking: Ranking | None = None
    width: int | None = 4
    expansion: Expansion = field(default_factory=Whole)
    merge: bool = True
    leaves: int = 1
    budget: Budget = field(default_factory=Budget)
    until: float | None = None

    def with_simulations(self, simulations: int) -> "Search":
        """The same search with another budget."""
        return replace(self, budget=replace(self.budget, simulations=simulations))

    @property
    def samples(self) -> int:
        """Actions sampled for each state that is expanded.

        Raises:
            UserError: neither width nor budget says how many.
        """
        found = self.width or self.budget.simulations
        if not found:
            raise UserError(f"search {self.name!r} needs a width or a number of simulations")
        return found

    def version(self, policy: str) -> str:
        """Names what plays in the records: the policy and all of the search that matters."""
        return f"{policy}+{self.name}/{self.samples}x{self.budget.simulations or 'all'}"

    async def play(self, host: Host, sampler: Sampler, episode: Episode, seed: int, pulse: Pulse) -> Episode:
        """Grow a tree from the task's beginning; returns `episode` with the tree in it.

        Raises:
            EnvironmentFailure: the environment broke, or came back in another state than it was left in.
            SamplerFailure: inference broke.
        """
        began = time.perf_counter()
        walk = Walk(Branch(Shared(host)), sampler, episode, seed, pulse)
        await walk.start()
        await _Growth(self, State(walk)).run()
        episode.seconds = time.perf_counter() - began
        return episode


class _Growth:
    """One tree being grown."""

    def __init__(self, search: Search, root: State) -> None:
        self.search, self.root, self.episode = search, root, root.walk.episode
        self.began, self.simulations, self.tokens = time.monotonic(), 0, 0
        self.best = float("-inf")  # of all paths that have ended

    async def run(self) -> None:
        while not self._spent():
            targets = self._select()
            if not targets:
                return
            edges = await self._expand(targets)
            estimates = await asyncio.gather(*(self._estimate(e) for e in edges))
            known = len(self.episode.nodes)
            for edge, estimate in zip(edges, estimates, strict=True):
                self._graft(estimate.nodes, known)
                edge.back_up(estimate.value)
                self.simulations += 1
            for target in targets:
                _pend(target, -1)

    def _spent(self) -> bool:
        budget, actions = self.search.budget, sum(n.kind == "action" for n in self.episode.nodes)
        spent = (self.simulations, actions, self.tokens, time.monotonic() - self.began)
        limits = (budget.simulations, budget.nodes, budget.tokens, budget.seconds)
        found = self.search.until is not None and self.best >= self.search.until
        return found or any(limit is not None and used >= limit for used, limit in zip(spent, limits, strict=True))

    def _select(self) -> list[State | Edge]:
        """Where this round's simulations go; each sees those before it as pending."""
        left = self.search.budget.simulations
        count = self.search.leaves if left is None else min(self.search.leaves, left - self.simulations)
        targets: list[State | Edge] = []
        for _ in range(count):
            target = self.search.choice.select(self.root)
            if target is None or (target is self.root and target in targets):
                break  # the root itself cannot be marked as pending
            _pend(target, 1)
            targets.append(target)
        return targets

    async def _expand(self, targets: list[State | Edge]) -> list[Edge]:
        """Give the states among the targets their actions. Returns the edges to evaluate, in the targets' order."""
        states = list(dict.fromkeys(t for t in targets if isinstance(t, State)))
        proposals = await asyncio.gather(*(self.search.expansion(s.walk, self.search.samples) for s in states))
        for state, samples in zip(states, proposals, strict=True):
            self.tokens += sum(len(s.token_ids or ()) for s in samples)
            for same in _alike(samples) if self.search.merge else [[s] for s in samples]:
                edge = await self._take(state, same[0])
                edge.copies, edge.node.spent = len(same), sum(len(s.token_ids or ()) for s in same[1:])
                state.edges.append(edge)
        if self.search.ranking is not None:
            await asyncio.gather(*(self._rank(s, self.search.ranking) for s in states))
        edges: list[Edge] = []
        for target in targets:
            for edge in [target] if isinstance(target, Edge) else self.search.choice.reach(target):
                edge.pending += 1
                edges.append(edge)
        for edge in edges:
            edge.pending -= 1
        return edges

    async def _take(self, state: State, sample: Sample) -> Edge:
        host = state.walk.host
        assert isinstance(host, Branch)
        walk = state.walk.fork(host.fork())
        goes_on = await walk.take(sample)
        node = self.episode.nodes[-2 if goes_on else -1]
        if goes_on and walk.full():
            goes_on = await walk.turn()  # writes down that the context is full
        edge = Edge(node, state, state.earned + (node.reward or 0.0))
        if goes_on:
            edge.state = State(walk, edge)
        else:
            self.best = max(self.best, edge.earned)
        return edge

    async def _rank(self, state: State, ranking: Ranking) -> None:
        ranks = await ranking(state.walk, [e.node for e in state.edges])
        for edge, rank in zip(state.edges, ranks, strict=True):
            edge.node.rank = rank

    async def _estimate(self, edge: Edge) -> Estimate:
        if edge.state is None:
            return Estimate(edge.earned)
        estimate = await self.search.value(edge)
        if estimate.nodes:
            self.best = max(self.best, edge.earned + sum(n.reward or 0.0 for n in estimate.nodes))
        return estimate

    def _graft(self, nodes: Iterable[Node], known: int) -> None:
        """Append what was played beside the tree, as it stood with `known` nodes, to the tree."""
        shift = len(self.episode.nodes) - known
        for node in nodes:
            moved = {f: getattr(node, f) + shift for f in ("id", "parent", "continues") if getattr(node, f) >= known}
            node = msgspec.structs.replace(node, **moved)
            self.episode.nodes.append(node)
            self.episode.drift += node.continues >= 0
            self.tokens += len(node.token_ids or ()) if node.kind == "action" else 0


def _pend(target: State | Edge, count: int) -> None:
    edge = target if isinstance(target, Edge) else target.edge
    for passed in edge.path if edge else ():
        passed.pending += count


def _alike(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Near-duplicates together: the same calls with the same arguments, the same words, case and punctuation aside."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(_gist(sample.message), []).append(sample)
    return list(found.values())


def _gist(message: Message) -> str:
    content, calls = message.said
    words = "".join(c if c.isalnum() else " " for c in content.casefold()).split()
    return json.dumps([calls, words, message.malformed], sort_keys=True, default=str)
