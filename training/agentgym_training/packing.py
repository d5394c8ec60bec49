"""Sequences through a model, what they have in common once.

Branches of a search tree, attempts at one task and both sides of a pair begin with the same tokens, and causal attention gives
these the same hidden states in each. So sequences make one row: their trie in depth-first order, each token standing once::

    sequences   a b c d e        row        a b c d e f g h
                a b c f          position   0 1 2 3 4 3 1 2
                a g h            run        0 0 0 0 0 1 2 2

A run is what a sequence adds to those before it. Attention goes run by run: the queries of a run see the keys of their own
sequence alone, so they see what they would see without company; all else in a transformer works token by token. A token after
which sequences part predicts several next ones. Nothing is padded but runs of like shape, in attention. The head is applied where
a token is scored, in pieces, so that no more than `HEAD` logits are held at once. Thoughts that later turns do not see make
sequences that part, so they can go through in one pass too.

Departs from tree attention by one mask over the row (SpecInfer, arXiv:2305.09781), whose cost grows with the row's square.

A model that cannot take such rows (sliding windows, recurrent states, an attention of its own) gets its sequences padded, each
in a row of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

Ints = np.ndarray[Any, np.dtype[np.int64]]
ATTENTION = "agentgym_runs"
HEAD = 2**27  # logits that are held at once
BUDGET = 32_768 if torch.cuda.is_available() else 2_048  # tokens at once that a GPU's memory, or a CPU's cache, likes
ALIKE = 0.7  # of a bucket's attention that is no padding, at least


@dataclass(frozen=True)
class Scored:
    """One sequence.

    Attributes:
        ids: L ids.
        at: (m,), positions of the tokens to be scored, rising; never 0.
        token: (m,), their places in arrays over all scored tokens of a batch.
    """

    ids: list[int]
    at: Ints
    token: Ints


S = TypeVar("S", bound=Scored)


@dataclass(frozen=True)
class Bucket:
    """B runs of about one shape.

    Attributes:
        queries: (B, n), places in the row; padded with the first one.
        keys: (B, l), places in the row: of the sequence up to the run's end; padded with the first one.
        shared: (B,), how many keys stand before the first query; None where the queries are the keys.
    """

    queries: Tensor
    keys: Tensor
    shared: Tensor | None

    def to(self, device: torch.device) -> "Bucket":
        """The same on a device."""
        return Bucket(self.queries.to(device), self.keys.to(device), None if self.shared is None else self.shared.to(device))


@dataclass(frozen=True)
class Runs:
    """How attention goes through a row of N tokens.

    Attributes:
        buckets: All runs.
        place: (N,), of each token's output in those of all buckets, one after the other.
    """

    buckets: tuple[Bucket, ...]
    place: Tensor

    def to(self, device: torch.device) -> "Runs":
        """The same on a device."""
        return Runs(tuple(b.to(device) for b in self.buckets), self.place.to(device))


@dataclass(frozen=True)
class Micro:
    """Sequences that go through a model at once, m of their tokens scored.

    Attributes:
        input_ids: (R, N): one row, or padded ones.
        position_ids: (R, N).
        runs: How attention goes through a single row; None for padded ones.
        at: (m,), places of the scored tokens in all rows, one after the other.
        before: (m,), places of the tokens that predict them.
        token: (m,), see `Scored`.
        sequence: (m,), numbers of the sequences that they are in.
    """

    input_ids: Tensor
    position_ids: Tensor
    runs: Runs | None
    at: Tensor
    before: Tensor
    token: Tensor
    sequence: Tensor

    @property
    def targets(self) -> Tensor:
        """(m,), the scored ids."""
        return self.input_ids.flatten()[self.at]

    @property
    def inputs(self) -> dict[str, Any]:
        """What a model is called with."""
        given = {"input_ids": self.input_ids, "position_ids": self.position_ids, "use_cache": False}
        return given if self.runs is None else given | {"runs": self.runs}

    def to(self, device: torch.device) -> "Micro":
        """The same on a device."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if v is not None})


# ---- packing -----------------------------------------------------------------------------------------------------------


def parts(sequences: Sequence[S], budget: int, *, trees: bool) -> Iterator[list[S]]:
    """Which sequences go through a model together: as many as `budget` tokens have room for, at least one.

    Args:
        sequences: In any order.
        budget: Tokens of a row; padding included.
        trees: What begins alike goes together, and counts once; else what is about as long.
    """
    together: list[S] = []
    size = 0
    for s in sorted(sequences, key=(lambda s: s.ids) if trees else (lambda s: -len(s.ids))):
        new = len(s.ids) - _common(together[-1].ids, s.ids) if trees and together else len(s.ids)
        size = size + new if trees else (len(together) + 1) * len((together or [s])[0].ids)
        if together and size > budget:
            yield together
            together, size = [], len(s.ids)
        together.append(s)
    if together:
        yield together


def packed(model: Any, sequences: Sequence[Scored], budget: int, pad: int, device: torch.device) -> Iterator[Micro]:
    """All sequences as a model takes them; see `parts` and `pack`."""
    trees = takes_trees(model)
    for part in parts(sequences, budget, trees=trees):
        yield pack(part, pad, trees=trees).to(device)


def pack(sequences: Sequence[Scored], pad: int, *, trees: bool) -> Micro:
    """Sequences as a model reads them.

    Args:
        sequences: In any order; the numbers in `Micro.sequence` follow it.
        pad: Id of the padding.
        trees: Make one row of them; else padded ones.
    """
    if trees:
        ids, positions, paths, fresh = trie([s.ids for s in sequences])
        runs = _runs(paths, fresh, len(ids))
    else:
        longest = max(len(s.ids) for s in sequences)
        ids = np.array([[*s.ids, *[pad] * (longest - len(s.ids))] for s in sequences])
        positions, runs = np.broadcast_to(np.arange(longest), ids.shape).copy(), None
        paths = [np.arange(i * longest, i * longest + len(s.ids)) for i, s in enumerate(sequences)]
    lengths = [len(s.at) for s in sequences]
    columns: list[list[Ints]] = [
        [path[s.at] for path, s in zip(paths, sequences, strict=True)],
        [path[s.at - 1] for path, s in zip(paths, sequences, strict=True)],
        [s.token for s in sequences],
        [np.repeat(np.arange(len(sequences)), lengths)],
    ]
    at, before, token, sequence = (torch.from_numpy(np.concatenate(c)) for c in columns)
    row, places = (torch.from_numpy(np.atleast_2d(x)) for x in (ids, positions))
    return Micro(row, places, runs, at, before, token, sequence)


def trie(sequences: Sequence[list[int]]) -> tuple[Ints, Ints, list[Ints], list[int]]:
    """The tokens of all sequences, what they begin with in common once.

    Returns:
        (N,) ids; (N,) their positions in sequences; of each sequence the places of its tokens among the N; and how many of them,
        at its end, no sequence before it in alphabetical order has (0 for one that is the beginning of another, or its double).
    """
    ids, positions = list[Ints](), list[Ints]()
    paths = [np.empty(0, np.int64)] * len(sequences)
    fresh, size, last = [0] * len(sequences), 0, -1
    for number in sorted(range(len(sequences)), key=lambda i: sequences[i]):
        sequence = sequences[number]
        same = _common(sequences[last], sequence) if last >= 0 else 0
        new = len(sequence) - same
        ids.append(np.array(sequence[same:], np.int64))
        positions.append(np.arange(same, len(sequence)))
        paths[number] = np.concatenate([paths[last][:same], np.arange(size, size + new)])
        fresh[number], size, last = new, size + new, number
    return np.concatenate(ids), np.concatenate(positions), paths, fresh


def _common(one: list[int], other: list[int]) -> int:
    """How many ids both begin with."""
    length = min(len(one), len(other))
    differ = np.array(one[:length]) != np.array(other[:length])
    return int(differ.argmax()) if differ.any() else length


def _runs(paths: Sequence[Ints], fresh: Sequence[int], count: int) -> Runs:
    """The runs of like shape together.

    A run with less than half of its sequence before it asks for the whole sequence again: the causal kernels, which skip what is
    ahead, need no longer for that than those with a mask for the run alone.
    """
    found = [(path, new, 2 * new > len(path)) for path, new in zip(paths, fresh, strict=True) if new]
    found.sort(key=lambda r: (r[2], len(r[0]) if r[2] else r[1], len(r[0])), reverse=True)
    buckets, place, start = list[Bucket](), np.empty(count, np.int64), 0
    for group in _alike(found):
        whole = group[0][2]
        longest, widest = max(len(path) for path, *_ in group), max(new for _, new, _ in group)
        keys = np.stack([_filled(path, longest) for path, *_ in group])
        queries = keys if whole else np.stack([_filled(path[-new:], widest) for path, new, _ in group])
        for i, (path, new, _) in enumerate(group):
            first = start + i * queries.shape[1] + (len(path) - new if whole else 0)
            place[path[-new:]] = np.arange(first, first + new)
        start += queries.size
        shared = None if whole else torch.tensor([len(path) - new for path, new, _ in group])
        buckets.append(Bucket(torch.from_numpy(queries), torch.from_numpy(keys), shared))
    return Runs(tuple(buckets), torch.from_numpy(place))


def _alike(runs: Sequence[tuple[Ints, int, bool]]) -> Iterator[list[tuple[Ints, int, bool]]]:
    """Neighbours of one kind, as long as little of their attention is padding."""
    group: list[tuple[Ints, int, bool]] = []
    keys = real = 0
    for path, new, whole in runs:
        size = len(path) * (len(path) if whole else new)
        if group:
            longest, (_, most, kind) = max(keys, len(path)), group[0]
            area = longest * (longest if whole else most) * (len(group) + 1)
            if kind != whole or real + size < ALIKE * area:
                yield group
                group, keys, real = [], 0, 0
        group.append((path, new, whole))
        keys, real = max(keys, len(path)), real + size
    yield group


def _filled(places: Ints, length: int) -> Ints:
    return np.concatenate([places, np.full(length - len(places), places[0])])


# ---- models ------------------------------------------------------------------------------------------------------------


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    runs: Runs | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers' kind: (1, heads, N, size) to (1, N, heads, size), run by run; torch's own without runs."""
    if runs is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)  # type: ignore[no-any-return]
    shapes = [(x.shape[1], x.shape[3]) for x in (query, key, value)]
    flat = [x[0].transpose(0, 1).flatten(1) for x in (query, key, value)]  # (N, heads * size)
    both = torch.cat(flat[1:], 1)
    found = []
    for b in runs.buckets:
        (count, n), length = b.queries.shape, b.keys.shape[1]
        taken = torch.split(both.index_select(0, b.keys.flatten()), [flat[1].shape[1], flat[2].shape[1]], 1)
        q, k, v = (
            x.view(count, -1, *shape).transpose(1, 2)
            for x, shape in zip((flat[0].index_select(0, b.queries.flatten()), *taken), shapes, strict=True)
        )
        steps = torch.arange(length, device=q.device)
        ahead = None if b.shared is None else (steps <= b.shared[:, None, None] + steps[:n, None])[:, None]
        out, _ = sdpa_attention_forward(module, q, k, v, ahead, **options)
        found.append(out.flatten(0, 1))
    return torch.cat(found).index_select(0, runs.place)[None], None


AttentionInterface.register(ATTENTION, attend)


def takes_trees(model: Any) -> bool:
    """Whether `share` was done to a model, or to the one that it is a part of."""
    return bool(model.config._attn_implementation == ATTENTION)


def share(model: Any) -> Any:
    """Let a causal language model take rows of several sequences, if it can; returns it.

    It is tried on a small tree: what it says of it has to be what it says of each sequence alone.
    """
    causal = _causal(model)
    config, usual = causal.config.get_text_config(), causal.config._attn_implementation
    whole = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    if not whole or getattr(config, "sliding_window", None) or not getattr(causal, "_supports_attention_backend", False):
        return model
    tried = [Scored(ids, np.arange(1, len(ids)), np.arange(1, len(ids))) for ids in ([1, 2, 3, 4, 5], [1, 2, 3, 6], [1, 4, 2])]
    with torch.no_grad():
        alone = [score(model, pack([s], 0, trees=False).to(causal.device), token_logps) for s in tried]
        causal.set_attn_implementation(ATTENTION)
        if not torch.allclose(
            torch.cat(alone), score(model, pack(tried, 0, trees=True).to(causal.device), token_logps), atol=1e-3
        ):
            causal.set_attn_implementation(usual)
    return model


def _causal(model: Any) -> Any:
    """The causal language model, without adapters around it."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def token_logps(logits: Tensor, targets: Tensor) -> Tensor:
    """Of each scored token its log-probability in nats, (c,); logits are (c, V)."""
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def score(model: Any, micro: Micro, of: Callable[[Tensor, Tensor], Tensor], inputs: dict[str, Any] | None = None) -> Tensor:
    """What `of` makes of the logits (c, V) and targets (c,) of each piece, for all m scored tokens: (m, ...).

    Args:
        model: A causal language model.
        micro: What it reads.
        of: In float32; it is computed again for the backward pass where there are several pieces.
        inputs: What the model is called with instead of `Micro.inputs`, such as embeddings of the same shape.
    """
    causal, inputs = _causal(model), micro.inputs if inputs is None else inputs
    if takes_trees(causal):
        head = causal.get_output_embeddings()
        rows = causal.base_model(**inputs).last_hidden_state.flatten(0, 1).index_select(0, micro.before)
    else:  # whatever the model does with its logits
        width = micro.input_ids.shape[1]
        columns, column = torch.unique(micro.before % width, return_inverse=True)
        head = torch.nn.Identity()
        made = model(**inputs, logits_to_keep=columns).logits.flatten(0, 1)
        rows = made.index_select(0, micro.before // width * len(columns) + column)
    size = max(1, HEAD // causal.config.get_text_config().vocab_size)
    if len(rows) <= size:
        return of(head(rows).float(), micro.targets)

    def piece(hidden: Tensor, targets: Tensor) -> Tensor:
        return of(head(hidden).float(), targets)

    pieces = zip(torch.split(rows, size), torch.split(micro.targets, size), strict=True)
    return torch.cat([checkpoint(piece, *p, use_reentrant=False, preserve_rng_state=False) for p in pieces])


@torch.no_grad()
def logps_of(model: Any, sequences: Sequence[Scored], budget: int, pad: int, device: torch.device) -> Tensor:
    """What a model thinks of the scored tokens: (M,) in nats, where each sequence's `token` says."""
    found = torch.zeros(1 + max((int(s.token.max()) for s in sequences), default=-1), device=device)
    for micro in packed(model, sequences, budget, pad, device):
        found[micro.token] = score(model, micro, token_logps)
    return found
