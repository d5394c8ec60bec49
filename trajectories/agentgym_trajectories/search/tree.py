"""A tree under search: states that can be gone on from, and the edges between them.

What the search learns about an action stands in the action's own node (`visits`, `value`, `rank`), so that it is stored with the
tokens; the objects here add what lives only during the search.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from agentgym_trajectories.episode import Walk
from agentgym_trajectories.tree import Node


@dataclass(eq=False)
class Edge:
    """An action.

    Attributes:
        node: Its record.
        source: The state that it was taken in.
        earned: Sum of the rewards from the beginning to this action, its own included.
        state: What it led to; None where the episode ended.
        copies: How many near-duplicates were merged into it, itself included.
        pending: Simulations that went this way and are not backed up yet (virtual loss).
        known: Whether it was found to be settled; what is, stays so.
    """

    node: Node
    source: "State"
    earned: float
    state: "State | None" = None
    copies: int = 1
    pending: int = 0
    known: bool = False

    @property
    def settled(self) -> bool:
        """Whether nothing is left to find here: the episode has ended and that was counted, or all that follows is settled."""
        if not self.known:
            if self.state is None:
                self.known = self.node.visits + self.pending > 0
            else:
                self.known = bool(self.state.edges) and not self.state.open
        return self.known

    @property
    def path(self) -> list["Edge"]:
        """The edges from the root to this one."""
        above = self.source.edge
        return [*(above.path if above else ()), self]

    def back_up(self, value: float) -> None:
        """One more simulation that went this way: visits and means of all edges of the path."""
        for edge in self.path:
            node = edge.node
            node.visits += 1
            node.value = (node.value or 0.0) + (value - (node.value or 0.0)) / node.visits


@dataclass(eq=False)
class State:
    """Where the agent has to act.

    Attributes:
        walk: Goes on from here; it is forked, never moved.
        edge: The action that led here; None at the root.
        edges: The actions tried; empty before the expansion.
    """

    walk: Walk
    edge: Edge | None = None
    edges: list[Edge] = field(default_factory=list)

    @property
    def earned(self) -> float:
        """Sum of the rewards so far."""
        return self.edge.earned if self.edge else 0.0

    @property
    def depth(self) -> int:
        """Actions taken so far."""
        return self.edge.source.depth + 1 if self.edge else 0

    @property
    def open(self) -> list[Edge]:
        """The edges that are not settled."""
        return [e for e in self.edges if not e.settled]

    @property
    def visits(self) -> int:
        """Simulations that went through here, those under way included."""
        return sum(e.node.visits + e.pending for e in self.edges)

    def below(self) -> Iterator["State"]:
        """This state and all states under it, each before those under it."""
        yield self
        for edge in self.edges:
            if edge.state is not None:
                yield from edge.state.below()
