"""From trajectories to rows: ids and per-token loss weights, which is all that a trainer sees.

Sampled ids are trained on exactly as they were sampled. A trajectory without ids (of an oracle, a person, an API), or with
those of another vocabulary, is rendered anew, with the same masks: weight only on what the agent wrote, its end of turn
included, never on what the environment said. A node that several paths share has weight in the first of them only.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym.tokens import Chat, Conversation
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True)
class Row:
    """One sequence to train on.

    Attributes:
        input_ids: L ids, exactly as the model saw and wrote them.
        weights: L loss weights, for each id as a target: 0 on everything that is not the agent's.
    """

    input_ids: list[int]
    weights: list[float]


def training_rows(trajectories: Iterable[Trajectory], tokenizer: Any, max_length: int | None = None) -> list[Row]:
    """The rows of many trajectories, for the model with this tokenizer; no node is trained on twice.

    Args:
        trajectories: Those of one episode one after the other, as a store gives them.
        tokenizer: With a chat template.
        max_length: Rows with more tokens are left out (a cut row would teach to stop early); None for no limit.
    """
    chat = Chat(tokenizer)
    made: list[Row] = []
    episode, seen = None, set[int]()
    for t in trajectories:
        if t.episode is not episode:
            episode, seen = t.episode, set()
        fitting = [r for r in rows(t, chat, seen) if max_length is None or len(r.input_ids) <= max_length]
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
        written = [
            ([i for n in branch for i in n.token_ids or ()], [on.get(n.id, 0.0) for n in branch for _ in n.token_ids or ()])
            for branch in trajectory.branches
        ]
    else:
        written = _render(trajectory, chat, on)
    return [Row(ids, weights) for ids, weights in written if any(weights)]


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


def _render(trajectory: Trajectory, chat: Chat, on: dict[int, float]) -> list[tuple[list[int], list[float]]]:
    conversation = Conversation(chat, trajectory.episode.tools)
    written: list[tuple[list[int], list[float]]] = [([], [])]
    told = 0  # messages so far; the root of a further branch repeats them
    for branch in trajectory.branches:
        for node in branch:
            new = node.messages[told:] if node.continues >= 0 else node.messages
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
