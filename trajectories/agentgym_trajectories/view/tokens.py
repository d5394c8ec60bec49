"""Tokens as people read them: what they spell, and what an update of a reinforcement learning saw of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.tokens import vocabulary_of
from agentgym_trajectories.tree import Episode

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what part of a character's bytes decodes to
LONGEST = 4  # tokens of one character: UTF-8 has at most so many bytes


class Spelling:
    """Spells tokens by the tokenizer that has their very vocabulary.

    Args:
        run: Where to look: in it, in its folders, and in those beside it.
        given: Where else: a model directory, or its ``tokenizer.json``.
    """

    def __init__(self, run: Path, given: Path | None = None) -> None:
        self._run, self._given = run.resolve(), given
        self._looked: dict[Path, str] = {}  # the vocabulary of each file
        self._known: dict[str, Any] = {}

    def of(self, vocabulary: str) -> Any | None:
        """The tokenizer of this vocabulary; None where there is none."""
        if vocabulary not in self._known:
            for file in self._files():
                if file not in self._looked and self._look(file) == vocabulary:
                    break
        return self._known.get(vocabulary)

    def _files(self) -> list[Path]:
        given = [self._given / "tokenizer.json" if self._given.is_dir() else self._given] if self._given else []
        inside = [f for depth in ("", "*/", "*/*/") for f in self._run.glob(f"{depth}tokenizer.json")]
        return [*given, *inside, *self._run.parent.glob("tokenizer.json"), *self._run.parent.glob("*/tokenizer.json")]

    def _look(self, file: Path) -> str:
        import tokenizers  # comes with an extra

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception:  # the library raises nothing more special for a file that it cannot read
            self._looked[file] = ""
            return ""
        self._looked[file] = vocabulary_of(tokenizer.get_vocab(with_added_tokens=True))
        self._known[self._looked[file]] = tokenizer
        return self._looked[file]


def spelt(ids: Sequence[int], tokenizer: Any | None) -> list[str]:
    """What each token spells; a character of several tokens stands at the first of them. Without a tokenizer nothing."""
    if tokenizer is None:
        return ["" for _ in ids]
    texts = [tokenizer.decode([i], skip_special_tokens=False) for i in ids]
    at = 0
    while at < len(ids):
        if UNFINISHED in texts[at]:
            for end in range(at + 2, min(at + LONGEST, len(ids)) + 1):
                whole = tokenizer.decode(list(ids[at:end]), skip_special_tokens=False)
                if UNFINISHED not in whole:
                    texts[at:end] = [whole] + [""] * (end - at - 1)
                    at = end - 1
                    break
        at += 1
    return texts


def dump_of(store: Path, version: str) -> Path | None:
    """The file in which an update wrote the numbers of its tokens, for episodes of this version in this store."""
    if not re.fullmatch(r"update-\d+", version):
        return None
    file = store.resolve().parent.parent / "tokens" / f"{version}.npz"
    return file if file.is_file() else None


def numbers(file: Path, episode: Episode) -> dict[int, tuple[list[float | None], list[float]]]:
    """For each turn of an episode that an update trained on: the new logprobs (None where not computed) and the advantages."""
    with np.load(file) as kept:
        ends = np.cumsum(kept["tokens"])
        mine = np.flatnonzero(kept["episode"] == episode.id)
        new, advantages = kept["new"], kept["advantages"]
        spans = {int(kept["node"][t]): slice(ends[t] - kept["tokens"][t], ends[t]) for t in mine}
    return {n: ([None if np.isnan(x) else x for x in new[s].tolist()], advantages[s].tolist()) for n, s in spans.items()}
