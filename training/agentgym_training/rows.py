"""From trajectories to rows: ids and per-token loss weights, which is all that a trainer sees.

What a row is, and that sampled ids are trained on as sampled, stands in `agentgym_trajectories.rows`. A node that several paths
share has weight in the first of them only.

A preference pair is two such rows. What both sides did before they part has no weight in either.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentgym.tokens import Chat
from agentgym_trajectories.pairs import Pair
from agentgym_trajectories.rows import Example, Row, Turn, rows
from agentgym_trajectories.tree import Trajectory

from .objectives import Objective

__all__ = ["PairRow", "Row", "from_divergence", "pair_rows", "rows", "training_rows", "unpaired_rows"]


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
    trajectories: Iterable[Trajectory],
    tokenizer: Any,
    max_length: int | None = None,
    objectives: Sequence[Objective] = (),
    role: str | None = None,
) -> list[Row]:
    """The rows of many trajectories, for the model with this tokenizer; no node is trained on twice, unless an objective says so.

    Args:
        trajectories: Those of one episode one after the other, as a store gives them.
        tokenizer: With a chat template.
        max_length: Rows with more tokens are left out (a cut row would teach to stop early); None for no limit.
        objectives: What is learnt and how much it counts, one after the other.
        role: Only what this role said; None for all.
    """
    chat = Chat(tokenizer)
    weighing = [o for o in objectives if o.has("weigh")]

    def weigh(turn: Turn) -> list[float]:
        return [math.prod(factors) for factors in zip(*(o.weigh(turn) for o in weighing), strict=True)]

    examples: Iterable[Example] = map(Example, trajectories)
    for objective in objectives:
        examples = objective.examples(examples)
    made: list[Row] = []
    episode, seen, leaves = None, set[int](), set[int]()
    for number, example in enumerate(examples):
        t = example.trajectory
        if t.episode is not episode or t.leaf.id in leaves:  # the same path again is meant again
            episode, seen, leaves = t.episode, set(), set()
        written = rows(example, chat, seen | t.not_of(role), weigh if weighing else None)
        fitting = [r for r in written if max_length is None or len(r.input_ids) <= max_length]
        if fitting:
            seen.update(n.id for n in t.actions)
            leaves.add(t.leaf.id)
        made += [replace(r, source=number) for r in fitting]
    for objective in objectives:
        made = objective.rows(made)
    return made


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
