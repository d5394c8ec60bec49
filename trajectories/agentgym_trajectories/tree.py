"""What an agent did, kept once: a tree of nodes with delta tokens. It knows no environment and no model.

A linear episode, a forked one and a search tree are the same thing. A trajectory is a path from a root to a leaf; the
concatenation of its nodes' `token_ids` is exactly what the model saw and wrote. Where the chat template rewrote the history,
a new root begins a new branch of tokens and names the action that it goes on from: one trajectory then has several branches,
and its rewards and mistakes are those of all of them. All trajectories of one task are a group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec

from agentgym import ErrorCategory, Message, StopReason, Task


class Node(msgspec.Struct, omit_defaults=True, gc=False):
    """One side's turn.

    Attributes:
        id: Position in the episode's list of nodes.
        parent: The node before it; -1 for a root.
        kind: "observation" (the environment's messages) or "action" (the agent's message).
        messages: An action has one; a root that rewrites history has the whole history.
        token_ids: The ids that this turn adds, the next generation prompt included in observations; None without a tokenizer.
        logprobs: For each id of an action, its log-probability under `version` at temperature 1.
        reward: Of an action; None where nothing was scored.
        rewards: The reward by part.
        errors: The agent's mistakes in this action.
        state_key: The environment's hidden state after an action, or at the start.
        version: The weights that sampled an action.
        end: Why the path ends at this action, if it does.
        success: Whether the path that ends here solved the task.
        continues: Of a root that rewrites history: the action that it goes on from.
        cut: The action hit the token limit.
        visits: Of an action that a search tried: how many simulations went through it.
        value: The mean of what they returned, in units of the total reward; None before the first.
        spent: Tokens sampled for it beside its own: near-duplicates that were merged into it, and what a critic wrote.
        rank: What a critic thinks of the action beside its siblings, 1 being the best of them and 0 the worst.
    """

    id: int
    parent: int
    kind: Literal["observation", "action"]
    messages: tuple[Message, ...]
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    reward: float | None = None
    rewards: dict[str, float] = {}
    errors: tuple[ErrorCategory, ...] = ()
    state_key: str = ""
    version: str = ""
    end: StopReason | None = None
    success: bool | None = None
    continues: int = -1
    cut: bool = False
    visits: int = 0
    value: float | None = None
    rank: float | None = None
    spent: int = 0


class Episode(msgspec.Struct):
    """One attempt at one task, keyed by environment, task, sample index and policy version.

    Attributes:
        env: The environment's id.
        env_args: Its arguments.
        task: The task.
        sample: Which of several attempts at the same task.
        version: The policy's version when the episode began.
        vocabulary: `Chat.vocabulary` of the sampler, to which all ids belong; empty without a tokenizer.
        tools: Schemas of the tools at the start.
        nodes: The tree, in the order of its growth.
        drift: How often the template rewrote the history.
        seconds: Wall-clock time.
        id: Its row in the store; 0 before it is stored.
    """

    env: str
    task: Task
    sample: int
    version: str
    env_args: dict[str, Any] = {}
    vocabulary: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    nodes: list[Node] = []
    drift: int = 0
    seconds: float = 0.0
    id: int = 0

    def add(self, parent: int, kind: Literal["observation", "action"], messages: tuple[Message, ...], **fields: Any) -> Node:
        """Append a node under `parent`."""
        node = Node(len(self.nodes), parent, kind, messages, **fields)
        self.nodes.append(node)
        return node

    def trajectories(self) -> Iterator["Trajectory"]:
        """One for each action after which nothing comes."""
        inner = {n.parent for n in self.nodes} | {n.continues for n in self.nodes}
        for node in self.nodes:
            if node.id not in inner and node.kind == "action":
                yield self.trajectory(node.id)

    def before(self, node: Node) -> Node | None:
        """The action before this node, across a rewritten history too; None where there was none."""
        at = node
        while at.parent >= 0 or at.continues >= 0:
            at = self.nodes[at.parent if at.parent >= 0 else at.continues]
            if at.kind == "action":
                return at
        return None

    def trajectory(self, action: int) -> "Trajectory":
        """What was done from the beginning to `action`, whether or not anything comes after it."""
        return Trajectory(self, self._branches(action))

    def path(self, leaf: int) -> tuple[Node, ...]:
        """The nodes from the branch's root to `leaf`."""
        nodes = []
        while leaf >= 0:
            nodes.append(self.nodes[leaf])
            leaf = nodes[-1].parent
        return tuple(reversed(nodes))

    def _branches(self, leaf: int) -> tuple[tuple[Node, ...], ...]:
        branches = []
        while leaf >= 0:
            branches.append(self.path(leaf))
            leaf = branches[-1][0].continues
        return tuple(reversed(branches))


@dataclass(frozen=True)
class Trajectory:
    """What was done from the beginning to a leaf.

    Attributes:
        episode: The tree that it is part of.
        branches: One path of nodes, or several in their order where the template rewrote the history.
    """

    episode: Episode
    branches: tuple[tuple[Node, ...], ...]

    @property
    def nodes(self) -> Sequence[Node]:
        """The last branch: the whole conversation as the model saw it at the end."""
        return self.branches[-1]

    @property
    def leaf(self) -> Node:
        """The last node."""
        return self.nodes[-1]

    @cached_property
    def actions(self) -> tuple[Node, ...]:
        """The agent's turns, of all branches."""
        return tuple(n for branch in self.branches for n in branch if n.kind == "action")

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation."""
        return tuple(m for n in self.nodes for m in n.messages)

    @cached_property
    def reward(self) -> float:
        """The sum of all steps' rewards."""
        return sum(n.reward or 0.0 for n in self.actions)

    @property
    def success(self) -> bool:
        """Whether the task was solved."""
        return bool(self.leaf.success)

    @cached_property
    def errors(self) -> tuple[ErrorCategory, ...]:
        """All mistakes of the agent."""
        return tuple(e for n in self.actions for e in n.errors)

    @property
    def sampled_tokens(self) -> int:
        """How many tokens the agent wrote; 0 without a tokenizer."""
        return sum(len(n.token_ids or ()) for n in self.actions)

    @property
    def token_ids(self) -> list[int] | None:
        """All ids of the last branch, exactly as the model saw them; None where a node has none."""
        if any(n.token_ids is None for n in self.nodes):
            return None
        return [i for n in self.nodes for i in n.token_ids or ()]

    @property
    def action_mask(self) -> list[bool]:
        """True on sampled ids, False on everything else; as long as `token_ids`."""
        return [n.kind == "action" for n in self.nodes for _ in n.token_ids or ()]
