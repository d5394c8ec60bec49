"""Trajectories: roll out, store, select and export what agents did, as token-exact trees."""

from agentgym_trajectories.rollout import Rollout, collect
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode, Node, Trajectory

__all__ = ["Episode", "Node", "Rollout", "Store", "Trajectory", "collect"]
