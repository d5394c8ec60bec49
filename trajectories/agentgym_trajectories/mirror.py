"""The user's side of a conversation, for whoever wants to train a simulated user; the agent's training never sees it.

A user's turns are observations of the agent, on which no loss is put. Seen from the other side they are actions: this module
turns an episode with a simulated user (`agentgym.partners`) round, so that everything that reads trajectories can read it::

    rows = training_rows(users_side(store.trajectories()), tokenizer)

The user's instructions come from the task's card. Tool calls and their results, which a user does not see, are left out.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from agentgym import Message, assistant, system, user
from agentgym.partners import GREETING, Card
from agentgym_trajectories.tree import Episode, Trajectory


def users_side(trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
    """Each trajectory in which a user with a card spoke, turned round; others are left out.

    The reward and the success stay those of the agent: a user who brought out what was wanted played well. There are no ids, so
    that rows are rendered anew.
    """
    for t in trajectories:
        card = t.episode.task.data.get("user")
        if card is not None and (turned := _turned(t, msgspec.convert(card, Card))) is not None:
            yield turned


def _turned(t: Trajectory, card: Card) -> Trajectory | None:
    said = [m for m in t.messages if m.role == "user" or (m.role == "assistant" and m.content and not m.tool_calls)]
    while said and said[-1].role != "user":  # what nobody answered
        said.pop()
    if not said or any(one.role == other.role for one, other in pairwise(said)):
        return None
    episode = Episode(t.episode.env, t.episode.task, t.episode.sample, t.episode.version, t.episode.env_args)
    opening = (system(card.instructions), user(GREETING))
    parent = episode.add(-1, "observation", opening).id
    for message in said:
        parent = _add(episode, parent, message)
    last = episode.nodes[-1]
    last.reward, last.rewards, last.success, last.end = t.reward, dict(t.leaf.rewards), t.leaf.success, t.leaf.end
    return episode.trajectory(last.id)


def _add(episode: Episode, parent: int, message: Message) -> int:
    """Append a turn, seen from the other side."""
    if message.role == "user":
        return episode.add(parent, "action", (assistant(message.content),)).id
    return episode.add(parent, "observation", (user(message.content),)).id
