"""Selectors by name: one small file each. A new one is a file with a frozen dataclass, and a line here."""

from agentgym_trajectories.select.base import Drop, Selector, apply, parse
from agentgym_trajectories.select.clear import Clear
from agentgym_trajectories.select.diversify import Diversify
from agentgym_trajectories.select.duplicates import Duplicates
from agentgym_trajectories.select.edge import Edge
from agentgym_trajectories.select.errors import Errors
from agentgym_trajectories.select.grape import Grape
from agentgym_trajectories.select.judge import Judge
from agentgym_trajectories.select.length import Length
from agentgym_trajectories.select.mining import Mining
from agentgym_trajectories.select.near import Near
from agentgym_trajectories.select.novelty import Novelty
from agentgym_trajectories.select.perplexity import Perplexity
from agentgym_trajectories.select.reward import Reward
from agentgym_trajectories.select.roundtrip import RoundTrip
from agentgym_trajectories.select.s3ft import S3ft
from agentgym_trajectories.select.whisperer import Whisperer
from agentgym_trajectories.tree import Trajectory

_ALL: tuple[type[Selector[Trajectory]], ...] = (
    *(Reward, Errors, Length, Duplicates, Near),  # by what was recorded
    *(Perplexity, Clear, Grape, Diversify, Whisperer, Mining, Edge, Judge, RoundTrip, Novelty),  # by a model
    S3ft,
)
SELECTORS: dict[str, type[Selector[Trajectory]]] = {s.__name__.lower(): s for s in _ALL}

__all__ = [
    "SELECTORS",
    "Clear",
    "Diversify",
    "Drop",
    "Duplicates",
    "Edge",
    "Errors",
    "Grape",
    "Judge",
    "Length",
    "Mining",
    "Near",
    "Novelty",
    "Perplexity",
    "Reward",
    "RoundTrip",
    "S3ft",
    "Selector",
    "Whisperer",
    "apply",
    "parse",
]
