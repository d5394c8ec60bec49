"""From trajectories to rows: ids and per-token loss weights, which is all that a trainer sees.

Sampled ids are trained on exactly as they were sampled. A trajectory without ids (of an oracle, a person, an API), or with
those of another tokenizer, is rendered anew, with the same masks: weight only on what the agent wrote, its end of turn
included, never on what the environment said.
"""

from dataclasses import dataclass

from agentgym_trajectories.tree import Trajectory

from agentgym.tokens import Chat, Conversation


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


def rows(trajectory: Trajectory, chat: Chat, *, render: bool = False) -> list[Row]:
    """The rows of one trajectory: one, and one more for each time that the chat template rewrote the history.

    Args:
        trajectory: What was done.
        chat: Template and dialect of the model to be trained.
        render: The nodes' ids are another tokenizer's: write the messages with `chat` instead.

    Returns:
        Rows that have something to learn.
    """
    sampled = None if render else trajectory.token_ids
    mask = [float(m) for m in trajectory.action_mask]
    written = _render(trajectory, chat) if sampled is None else [(sampled, mask)]
    e = trajectory.episode
    key = f"{e.env}/{e.task.id}/{e.sample}/{e.version}"
    return [Row(ids, weights, e.task.id, key) for ids, weights in written if any(weights)]


def _render(trajectory: Trajectory, chat: Chat) -> list[tuple[list[int], list[float]]]:
    conversation = Conversation(chat, trajectory.episode.tools)
    written: list[tuple[list[int], list[float]]] = [([], [])]
    for node in trajectory.nodes:
        if node.kind == "action":
            delta, branched, weight = conversation.act(node.messages[0]), False, 1.0
        else:
            (delta, branched), weight = conversation.observe(node.messages), 0.0
        if branched:
            written.append(([], []))
        ids, weights = written[-1]
        ids += delta
        weights += [weight] * len(delta)
    return written
