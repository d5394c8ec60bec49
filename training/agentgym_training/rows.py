"""From trajectories to rows: ids and per-token loss weights, which is all that a trainer sees.

Sampled ids are trained on exactly as they were sampled. A trajectory without ids (of an oracle, a person, an API), or with
those of another vocabulary, is rendered anew, with the same masks: weight only on what the agent wrote, its end of turn
included, never on what the environment said. A node that several paths share has weight in the first of them only.

A preference pair is two such rows. What both sides did before they part has no weight in either.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentgym.tokens import Chat, Conversation
from agentgym_trajectories.pairs import Pair
from agentgym_trajectories.tree import Node, Trajectory


@dataclass(frozen=True)
class Row:
    """One sequence to train on.

    Attributes:
        input_ids: L ids, exactly as the model saw and wrote them.
        weights: L loss weights, for each id as a target: 0 on everything that is not the agent's.
        logprobs: L log-probabilities (nats, temperature 1) that the ids had when they were sampled, 0 on ids that were not; None
            where an id with a weight has none, or where the ids were rendered anew.
        turns: Of each action that has a weight: its node, its first index and the one after its last. Empty where rendered anew.
    """

    input_ids: list[int]
    weights: list[float]
    logprobs: list[float] | None = None
    turns: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class PairRow:
    """Two sequences to prefer between.

    Attributes:
        chosen: The better one.
        rejected: The worse one.
        smoothing: Probability, at most 0.5, that it is the other way round.
    """

    chosen: Row
    rejected: Row
    smoothing: float = 0.0


def training_rows(
    trajectories: Iterable[Trajectory], tokenizer: Any, max_length: int | None = None, role: str | None = None
) -> list[Row]:
    """The rows of many trajectories, for the model with this tokenizer; no node is trained on twice.

    Args:
        trajectories: Those of one episode one after the other, as a store gives them.
        tokenizer: With a chat template.
        max_length: Rows with more tokens are left out (a cut row would teach to stop early); None for no limit.
        role: Only what this role said; None for all.
    """
    chat = Chat(tokenizer)
    made: list[Row] = []
    episode, seen = None, set[int]()
    for t in trajectories:
        if t.episode is not episode:
            episode, seen = t.episode, set()
        fitting = [r for r in rows(t, chat, seen | t.not_of(role)) if max_length is None or len(r.input_ids) <= max_length]
        if fitting:
            seen.update(n.id for n in t.actions)
        made += fitting
    return made


def rows(trajectory: Trajectory, chat: Chat, seen: Iterable[int] = ()) -> list[Row]:
    """The rows of one trajectory: one for each branch of tokens that has something to learn.

    Args:
        trajectory: What was done.
        chat: Template and dialect of the model to be trained.
        seen: Ids of nodes that have had their weight in another row.
    """
    on = {n.id: float(n.id not in seen) for n in trajectory.actions}
    if trajectory.token_ids is not None and trajectory.episode.vocabulary == chat.vocabulary:
        written = [_exact(branch, on) for branch in trajectory.branches]
    else:
        written = [Row(ids, weights) for ids, weights in _render(trajectory, chat, on)]
    return [row for row in written if any(row.weights)]


def pair_rows(pairs: Iterable[Pair], tokenizer: Any, max_length: int | None = None, role: str | None = None) -> list[PairRow]:
    """The rows of preference pairs, for the model with this tokenizer.

    A side that the chat template rewrote on its way is used only where all that it is to be judged by stands in its last
    branch: one sequence then holds it exactly as the model saw it. Other pairs are left out, and those whose sides are the same.

    The smoothing is ``min(1 - confidence, 0.5)``, as in MCTS-DPO (Xie et al. 2024, arXiv:2405.00451).

    Args:
        pairs: What to prefer to what.
        tokenizer: With a chat template.
        max_length: Pairs with a longer side, in tokens, are left out; None for no limit.
        role: Only what this role said; None for all.
    """
    chat = Chat(tokenizer)
    made: list[PairRow] = []
    for pair in pairs:
        sides = [rows(t, chat, {n.id for n in t.actions[: pair.first]} | t.not_of(role)) for t in (pair.chosen, pair.rejected)]
        fitting = [s for s in sides if len(s) == 1 and (max_length is None or len(s[0].input_ids) <= max_length)]
        if len(fitting) == 2 and sides[0][0].input_ids != sides[1][0].input_ids:
            made.append(PairRow(sides[0][0], sides[1][0], min(1.0 - pair.confidence, 0.5)))
    return made


def unpaired_rows(
    trajectories: Iterable[Trajectory],
    tokenizer: Any,
    max_length: int | None = None,
    seed: int = 0,
    role: str | None = None,
) -> list[PairRow]:
    """Successes and failures that need not be of the same tasks, for KTO: each success beside some failure.

    KTO's loss judges each side by itself, so it does not matter which stand together. The rarer kind is repeated until it is as
    frequent as the other, which is what the paper's weights are for (arXiv:2402.01306, equation 9). Actions that several paths of
    a tree share have no weight: they would be pulled both ways.

    Args:
        trajectories: Those of one episode one after the other; those without a verdict are left out.
        tokenizer: With a chat template.
        max_length: As in `pair_rows`, as is what the template rewrote.
        seed: Of who stands beside whom.
        role: Only what this role said; None for all.
    """
    chat, found = Chat(tokenizer), {True: list[Row](), False: list[Row]()}
    for _, of_one in itertools.groupby(list(trajectories), key=lambda t: id(t.episode)):
        paths = list(of_one)
        passed = Counter(n.id for t in paths for n in t.actions)
        for t in paths:
            made = rows(t, chat, {i for i, times in passed.items() if times > 1} | t.not_of(role))
            if t.leaf.success is not None and len(made) == 1 and (max_length is None or len(made[0].input_ids) <= max_length):
                found[t.success].append(made[0])
    rng, count = random.Random(seed), max(map(len, found.values()))
    if not all(found.values()):
        return []
    chosen, rejected = (
        sorted(itertools.islice(itertools.cycle(kind), count), key=lambda _: rng.random()) for kind in found.values()
    )
    return [PairRow(good, bad) for good, bad in zip(chosen, rejected, strict=True)]


def from_divergence(pair: PairRow) -> PairRow:
    """The same pair with weights only from the first id on in which its sides differ (MCTS-DPO, arXiv:2405.00451).

    Where a loss knows sums of both sides by their difference alone (DPO, hinge), this changes nothing: what the sides share
    has the same log-probability in both. It does where sums are divided by lengths or each side counts by itself.
    """
    sides = (pair.chosen, pair.rejected)
    same = 0
    for one, other in zip(*(s.input_ids for s in sides), strict=False):
        if one != other:
            break
        same += 1
    chosen, rejected = (replace(s, weights=[0.0] * same + s.weights[same:]) for s in sides)
    return replace(pair, chosen=chosen, rejected=rejected)


def mixed(agent: Sequence[Row], general: Sequence[Row], eta: float, seed: int = 0) -> list[Row]:
    """Agent rows with so many general rows that these are a share `eta` of all (AgentTuning, arXiv:2310.12823, equation 1).

    The paper draws each example of a batch from either source; here the shares are exact over the whole set. General rows
    are drawn without repetition until all were used.
    """
    wanted = round(len(agent) * eta / (1 - eta))
    rng, drawn = random.Random(seed), list[Row]()
    while general and len(drawn) < wanted:
        drawn += rng.sample(general, min(len(general), wanted - len(drawn)))
    together = [*agent, *drawn]
    rng.shuffle(together)
    return together


def _exact(branch: Sequence[Node], on: dict[int, float]) -> Row:
    ids = [i for n in branch for i in n.token_ids or ()]
    weights = [on.get(n.id, 0.0) for n in branch for _ in n.token_ids or ()]
    logged = all(n.logprobs is not None for n in branch if on.get(n.id))
    logprobs = [p for n in branch for p in n.logprobs or [0.0] * len(n.token_ids or ())]
    ends = list(itertools.accumulate(len(n.token_ids or ()) for n in branch))
    turns = ((n.id, end - len(n.token_ids or ()), end) for n, end in zip(branch, ends, strict=True) if on.get(n.id))
    return Row(ids, weights, logprobs if logged else None, tuple(turns))


def _render(trajectory: Trajectory, chat: Chat, on: dict[int, float]) -> list[tuple[list[int], list[float]]]:
    conversation = Conversation(chat, trajectory.episode.tools)
    written: list[tuple[list[int], list[float]]] = [([], [])]
    told = 0  # messages so far; the root of a further branch repeats them
    for branch in trajectory.branches:
        for node in branch:
            if node.anew:
                conversation, told = Conversation(chat, trajectory.episode.tools), 0
                written.append(([], []))
            new = node.messages[told:] if node.continues >= 0 and not node.anew else node.messages
            told += len(new)
            if node.kind == "action":
                delta, branched = conversation.act(new[0]), False
            else:
                delta, branched = conversation.observe(new)
            if branched:
                written.append(([], []))
            ids, weights = written[-1]
            ids += delta
            weights += [on.get(node.id, 0.0)] * len(delta)
    return written
