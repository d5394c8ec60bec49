"""From trajectories to rows: ids and per-token loss weights, which is all that a trainer sees.

Sampled ids are trained on exactly as they were sampled. A trajectory without ids (of an oracle, a person, an API), or with
those of another vocabulary, is rendered anew, with the same masks: weight only on what the agent wrote, its end of turn
included, never on what the environment said. A node that several paths share has weight in the first of them only.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer

from agentgym.tokens import Chat, Conversation
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True)
class Row:
    """One sequence to train on.

    Attributes:
        input_ids: L ids, exactly as the model saw and wrote them.
        weights: L loss weights, for each id as a target: 0 on everything that is not the agent's.
        group: The task; rows of one group are attempts at the same thing.
        episode: The episode's key, ``env/task/sample/version``.
    """

    input_ids: list[int]
    weights: list[float]
    group: str
    episode: str


def training_rows(trajectories: Iterable[Trajectory], model_dir: Path) -> list[Row]:
    """The rows of many trajectories, for the model in `model_dir`; no node is trained on twice."""
    chat = Chat(AutoTokenizer.from_pretrained(model_dir))
    made: list[Row] = []
    episode, seen = None, set[int]()
    for t in trajectories:
        if t.episode is not episode:
            episode, seen = t.episode, set()
        made += rows(t, chat, seen)
        seen.update(n.id for n in t.nodes)
    return made


def rows(trajectory: Trajectory, chat: Chat, seen: Iterable[int] = ()) -> list[Row]:
    """The rows of one trajectory: one, and one more for each time that rendering it rewrites the history.

    Args:
        trajectory: What was done.
        chat: Template and dialect of the model to be trained.
        seen: Ids of nodes that have had their weight in another row.

    Returns:
        Rows that have something to learn.
    """
    e = trajectory.episode
    weights = {n.id: float(n.kind == "action" and n.id not in seen) for n in trajectory.nodes}
    sampled = trajectory.token_ids
    if sampled is not None and e.vocabulary == chat.vocabulary:
        written = [(sampled, [weights[n.id] for n in trajectory.nodes for _ in n.token_ids or ()])]
    else:
        written = _render(trajectory, chat, weights)
    key = f"{e.env}/{e.task.id}/{e.sample}/{e.version}"
    return [Row(ids, on, e.task.id, key) for ids, on in written if any(on)]


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


def _render(trajectory: Trajectory, chat: Chat, weights: dict[int, float]) -> list[tuple[list[int], list[float]]]:
    conversation = Conversation(chat, trajectory.episode.tools)
    written: list[tuple[list[int], list[float]]] = [([], [])]
    for node in trajectory.nodes:
        if node.kind == "action":
            delta, branched = conversation.act(node.messages[0]), False
        else:
            delta, branched = conversation.observe(node.messages)
        if branched:
            written.append(([], []))
        ids, on = written[-1]
        ids += delta
        on += [weights[node.id]] * len(delta)
    return written
