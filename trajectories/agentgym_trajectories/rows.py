"""Rows: what a model reads of a trajectory, token by token, and how much each token of it counts.

Sampled ids are taken exactly as they were sampled. What has none (an oracle's, a person's, an API's turn, or one that was written
anew around sampled ones), or those of another vocabulary, is rendered by the chat template; sampled turns keep their ids all the
same. By default a weight stands only on what the agent wrote, its end of turn included, never on what the environment said.
"""

import itertools
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from agentgym.tokens import Chat, Conversation
from agentgym_trajectories.tree import Node, Trajectory


@dataclass(frozen=True)
class Row:
    """One sequence.

    Attributes:
        input_ids: L ids, exactly as the model saw and wrote them.
        weights: L loss weights, at least 0, for each id as a target: by default 0 on everything that is not the agent's.
        logprobs: L log-probabilities (nats, temperature 1) that the ids had when they were sampled, 0 on ids that were not; None
            where an id with a weight has none, or where anything was rendered anew.
        turns: Of each node that has a weight: its id, its first index and the one after its last.
        kind: What sort of example this is, to be balanced by; by default its environment.
        stage: Rows of a lower stage are trained on before those of a higher one.
        source: Number of the trajectory; its rows follow each other.
    """

    input_ids: list[int]
    weights: list[float]
    logprobs: list[float] | None = None
    turns: tuple[tuple[int, int, int], ...] = ()
    kind: str = ""
    stage: int = 0
    source: int = 0

    @property
    def trained(self) -> int:
        """How many ids have a weight."""
        return sum(map(bool, self.weights))


@dataclass(frozen=True)
class Example:
    """A trajectory to learn from, and how much.

    Attributes:
        trajectory: What was done, or what is to be learnt instead of it.
        weight: Of everything in it.
        nodes: Weights of single nodes by their ids, where they are not the usual ones: 1 for actions, 0 for observations.
        kind: See `Row`.
        stage: See `Row`.
    """

    trajectory: Trajectory
    weight: float = 1.0
    nodes: Mapping[int, float] = field(default_factory=dict)
    kind: str = ""
    stage: int = 0


@dataclass(frozen=True)
class Turn:
    """The ids of one node that has a weight.

    Attributes:
        node: The node.
        ids: Its m ids.
        example: What it is part of.
        chat: Whose ids they are.
    """

    node: Node
    ids: Sequence[int]
    example: Example
    chat: Chat


Weigh = Callable[[Turn], Sequence[float]]  # m factors of the ids' weights


def rows(example: Trajectory | Example, chat: Chat, seen: Container[int] = (), weigh: Weigh | None = None) -> list[Row]:
    """The rows of one trajectory: one for each branch of tokens in which something has a weight.

    Args:
        example: What was done.
        chat: Template and dialect of the model that reads it.
        seen: Ids of nodes that have had their weight in another row.
        weigh: Says how the ids of a turn differ in weight.
    """
    given = example if isinstance(example, Example) else Example(example)
    t = given.trajectory
    usual = {n.id: float(n.kind == "action") for branch in t.branches for n in branch}
    on = {i: given.weight * w * (i not in seen) for i, w in (usual | dict(given.nodes)).items()}
    same = t.episode.vocabulary == chat.vocabulary
    if same and t.token_ids is not None:
        written = [[(n, n.token_ids or []) for n in branch] for branch in t.branches]
    else:
        written = _rendered(t, chat, same)
    exact = same and t.token_ids is not None
    made = [_row(branch, on, given, chat, weigh, exact) for branch in written]
    return [row for row in made if any(row.weights)]


def _row(
    branch: list[tuple[Node, list[int]]], on: dict[int, float], example: Example, chat: Chat, weigh: Weigh | None, exact: bool
) -> Row:
    weights: list[float] = []
    for node, ids in branch:
        weight = on.get(node.id, 0.0)
        factors = weigh(Turn(node, ids, example, chat)) if weigh and weight else [1.0] * len(ids)
        weights += [weight * f for f in factors]
    logged = exact and all(n.logprobs is not None for n, _ in branch if on.get(n.id))
    logprobs = [p for n, ids in branch for p in n.logprobs or [0.0] * len(ids)]
    ends = list(itertools.accumulate(len(ids) for _, ids in branch))
    turns = tuple((n.id, end - len(ids), end) for (n, ids), end in zip(branch, ends, strict=True) if on.get(n.id))
    kind = example.kind or example.trajectory.episode.env
    return Row([i for _, ids in branch for i in ids], weights, logprobs if logged else None, turns, kind, example.stage)


def _rendered(trajectory: Trajectory, chat: Chat, same: bool) -> list[list[tuple[Node, list[int]]]]:
    """The ids of each node of each branch; of actions that were sampled with the same vocabulary, those that were sampled."""
    conversation = Conversation(chat, trajectory.episode.tools)
    written: list[list[tuple[Node, list[int]]]] = [[]]
    told = 0  # messages so far; the root of a further branch repeats them
    for branch in trajectory.branches:
        for node in branch:
            if node.anew:
                conversation, told = Conversation(chat, trajectory.episode.tools), 0
                written.append([])
            new = node.messages[told:] if node.continues >= 0 and not node.anew else node.messages
            told += len(new)
            if node.kind == "action":
                delta, branched = conversation.act(new[0], node.token_ids if same else None), False
            else:
                delta, branched = conversation.observe(new)
            if branched:
                written.append([])
            written[-1].append((node, delta))
    return written
