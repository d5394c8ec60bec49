"""Keep one of nearly equal trajectories: MinHash with locality-sensitive hashing (Lee et al. 2022, arXiv:2107.06499)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from agentgym import UserError
from agentgym_trajectories.rewrite import transcript
from agentgym_trajectories.select.base import Drop, Selector
from agentgym_trajectories.select.ranked import library
from agentgym_trajectories.tree import Trajectory

PERMUTATIONS = 128


@dataclass(frozen=True)
class Near(Selector[Trajectory]):
    """Keep the first of trajectories whose word n-grams (`words` long) have a Jaccard similarity of about `similarity` or more.

    Texts are what was asked and what the agent said and called; with ``of=request`` what was asked alone. Numbers are words:
    orders that differ in their ids alone are alike, yet not the same, so set the similarity by what your tasks share.
    """

    similarity: float = 0.9
    words: int = 3
    of: Literal["all", "request"] = "all"

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1 or self.words < 1:
            raise UserError("near takes a similarity over 0 and up to 1, and n-grams of at least one word")

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Stream; of each kept trajectory a sketch is remembered."""
        sketches = library("datasketch", "datasketch")
        # Candidates are compared below, so the index is to miss few rather than to find few.
        index = sketches.MinHashLSH(threshold=min(self.similarity, 0.9), num_perm=PERMUTATIONS, weights=(0.1, 0.9))
        kept = dict[str, tuple[Any, int]]()
        for t in items:
            sketch = sketches.MinHash(num_perm=PERMUTATIONS)
            sketch.update_batch([gram.encode() for gram in self._grams(t)])
            alike = [kept[k] for k in index.query(sketch)]
            alike = [(other, number) for other, number in alike if sketch.jaccard(other) >= self.similarity]
            if alike:
                drop(t, f"nearly the same as episode {alike[0][1]}")
            else:
                key = str(len(kept))
                kept[key] = sketch, t.episode.id
                index.insert(key, sketch)
                yield t

    def _grams(self, t: Trajectory) -> set[str]:
        own = [m for m in t.messages if m.role in ("user", "assistant")]
        words = (transcript(own) if self.of == "all" else t.episode.task.prompt).split()
        return {" ".join(words[i : i + self.words]) for i in range(max(1, len(words) - self.words + 1))}
