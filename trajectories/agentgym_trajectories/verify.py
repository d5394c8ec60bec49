"""Can the tokens be trusted? Recorded episodes are rendered again, and scored again by transformers.

Two independent checks: that concatenating a path gives exactly the ids that the chat template and the recorded messages call for
(and that every sampled turn reads as the message that was acted on), and that the recorded logprobs are those that a trainer's
plain forward pass computes on the recorded ids.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agentgym.tokens import Chat, Conversation
from agentgym_trajectories.tree import Node, Trajectory

Score = Callable[[list[int]], list[float]]  # logprobs of all ids after the first, at temperature 1


@dataclass
class Verification:
    """What was found.

    Attributes:
        trajectories: Looked at.
        without_ids: Of these, recorded without tokens: there is nothing to verify.
        inexact: What is wrong with each trajectory that is not exact.
        tokens: Sampled tokens whose logprobs were compared.
        difference: The sum of absolute differences of their logprobs, in nats.
        worst: The greatest of them.
    """

    trajectories: int = 0
    without_ids: int = 0
    inexact: list[str] = field(default_factory=list)
    tokens: int = 0
    difference: float = 0.0
    worst: float = 0.0

    @property
    def mean(self) -> float:
        """The mean absolute difference of logprobs, in nats."""
        return self.difference / self.tokens if self.tokens else 0.0


def verify(trajectories: Iterable[Trajectory], chat: Chat, score: Score, version: str) -> Verification:
    """Render all trajectories again, and score those turns again that these weights wrote.

    Args:
        trajectories: As recorded.
        chat: Template and dialect that they were recorded with.
        score: Of a model, by other code than the sampler's.
        version: Of that model's weights; turns of other weights are not scored.
    """
    found = Verification()
    for trajectory in trajectories:
        found.trajectories += 1
        if any(n.token_ids is None for branch in trajectory.branches for n in branch):
            found.without_ids += 1
            continue
        if wrong := inexact(trajectory, chat):
            found.inexact.append(f"{trajectory.episode.task.id}/{trajectory.episode.sample}: {wrong}")
        for branch in trajectory.branches:
            _compare(branch, score, version, found)
    return found


def inexact(trajectory: Trajectory, chat: Chat) -> str:
    """Where the recorded ids are not those that the template calls for; empty if they are."""
    if trajectory.episode.vocabulary != chat.vocabulary:
        return "its ids belong to another vocabulary"
    conversation, said = Conversation(chat, trajectory.episode.tools), 0
    for branch in trajectory.branches:
        for node in branch:
            if node.kind == "action":
                said += 1
                conversation.act(node.messages[0], node.token_ids)
                if chat.parse(node.token_ids or []) != node.messages[0]:
                    return f"turn {node.id} does not read as the message that was acted on"
                continue
            if node.anew:
                conversation, said = Conversation(chat, trajectory.episode.tools), 0
            rewrites = node.continues >= 0 and not node.anew
            ids, rewritten = conversation.observe(node.messages[said:] if rewrites else node.messages)
            said += len(node.messages) - said if rewrites else len(node.messages)
            if (ids, rewritten) != (node.token_ids, rewrites):
                return f"the template writes other ids before turn {node.id + 1}"
    return ""


def _compare(branch: tuple[Node, ...], score: Score, version: str, found: Verification) -> None:
    ids = [i for node in branch for i in node.token_ids or ()]
    ours = [n for n in branch if n.kind == "action" and n.version == version and n.logprobs]
    if not ours:
        return
    again = score(ids)
    start = 0
    for node in branch:
        end = start + len(node.token_ids or ())
        if any(node is n for n in ours):
            differences = [abs(a - b) for a, b in zip(node.logprobs or (), again[start - 1 : end - 1], strict=True)]
            found.tokens += len(differences)
            found.difference += sum(differences)
            found.worst = max(found.worst, *differences)
        start = end
