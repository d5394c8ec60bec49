"""Trajectories written anew around what the agent did: the ids that it sampled stay, what it was told is rendered."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from agentgym import Message, system
from agentgym_trajectories.rows import Example
from agentgym_trajectories.tree import Episode, Node, Trajectory

Told = Callable[[Node], Sequence[Message]]


def retold(trajectory: Trajectory, told: Told) -> Trajectory:
    """The same actions after other messages of the environment.

    Args:
        trajectory: What was done.
        told: The messages of one observation instead of its own. A root has no parent; it may repeat a whole history.
    """
    nodes = {
        n.id: msgspec.structs.replace(n, messages=tuple(told(n)), token_ids=None)
        for branch in trajectory.branches
        for n in branch
        if n.kind == "observation"
    }
    return with_nodes(trajectory, nodes)


def with_nodes(trajectory: Trajectory, nodes: dict[int, Node]) -> Trajectory:
    """The same trajectory with other nodes at the places of some."""
    episode = msgspec.structs.replace(trajectory.episode, nodes=[nodes.get(n.id, n) for n in trajectory.episode.nodes])
    return Trajectory(episode, tuple(tuple(nodes.get(n.id, n) for n in branch) for branch in trajectory.branches))


def conditioned(example: Example, text: str) -> Example:
    """The same example with a line more in its system message; an empty line changes nothing."""
    if not text:
        return example
    return replace(
        example,
        trajectory=retold(example.trajectory, lambda n: n.messages if n.parent >= 0 else with_system(n.messages, text, "\n")),
    )


def with_system(opening: Sequence[Message], text: str, between: str = "\n\n") -> Sequence[Message]:
    """The opening with more in its system message, which is made where there is none."""
    if opening and opening[0].role == "system":
        return (system(f"{opening[0].content}{between}{text}"), *opening[1:])
    return (system(text), *opening)


def linear(episode: Episode, turns: Sequence[Node]) -> Trajectory:
    """A trajectory of its own out of nodes of others, in this order; the ids of nodes are counted anew."""
    made = msgspec.structs.replace(episode, nodes=[])
    for n in turns:
        made.nodes.append(msgspec.structs.replace(n, id=len(made.nodes), parent=len(made.nodes) - 1, continues=-1))
    return Trajectory(made, (tuple(made.nodes),))


def transcript(messages: Sequence[Message]) -> str:
    """What was said and called, as text to be compared or read again; thoughts aside."""
    said = (m.said for m in messages)
    return "\n".join(" ".join([content, *(f"{name} {arguments}" for name, arguments in calls)]) for content, calls in said)
