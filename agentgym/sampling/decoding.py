"""The rows that a model decodes together: who joins, who leaves, and the keys and values that later turns begin with.

A turn's prompt is mostly the turn before, and siblings in a search have one: keys and values of rows that are done are kept for a
while, and a prompt is read from where it differs from all that are kept. They are those of the weights that serve, no others.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from agentgym.errors import SamplerFailure
from agentgym.tokens import Chat

GROWTH = 128  # columns by which the room of a running batch grows
BLOCK = 16  # tokens between two places of a text at which it can be found again
KEPT_BYTES = 1 << 30  # of keys and values of rows that are done
Pairs = list[tuple[Tensor, Tensor]]  # keys and values of each layer


@dataclass(eq=False)
class Row:
    """One turn being written."""

    prompt: list[int]
    limit: int
    uniforms: np.ndarray  # one number in [0, 1) for each token to be drawn
    future: "asyncio.Future[Row]"
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False
    version: str = ""

    @property
    def done(self) -> bool:
        """Whether no more is to be written; the last case: nobody waits."""
        return self.stopped or len(self.ids) >= self.limit or self.future.done()


@dataclass(frozen=True)
class Prompt:
    """A prompt to be read.

    Attributes:
        ids: All of it.
        rows: Whose it is.
        known: So many of its first tokens need not be read.
        kept: Keys and values of a text that begins with those.
    """

    ids: tuple[int, ...]
    rows: list[Row]
    known: int = 0
    kept: Pairs = field(default_factory=list)

    @property
    def new(self) -> int:
        """Tokens to be read."""
        return len(self.ids) - self.known


class Room(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, in buffers with room for more: a step writes its column in place.

    All rows end at the same column; `keys` and `values`, (B, heads, L, size), are views of the buffers. What stands to the left
    of a shorter row is never attended to, and finite.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[Tensor] = []
        self._rows = self._start = self._end = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append columns to all rows."""
        more = key_states.shape[2]
        self._reserve((key_states, value_states), self._rows, self._end - self._start, more)
        self._end += more
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self._rows, :, self._end - more : self._end] = new
        return self._show()

    def join(self, keys: Tensor, values: Tensor) -> None:
        """Put rows below those that are there."""
        first, length = self._rows, max(self._end - self._start, keys.shape[2])
        self._reserve((keys, values), first + len(keys), length, 0)
        self._rows, self._start = first + len(keys), self._end - length
        for buffer, new in zip(self._buffers, (keys, values), strict=True):
            buffer[first : self._rows, :, self._end - new.shape[2] : self._end] = new
        self._show()

    def leave(self, moves: Sequence[tuple[int, int]], rows: int, length: int) -> None:
        """Move rows from one place to another, then keep the first `rows` and the last `length` columns."""
        for buffer in self._buffers:
            for source, to in moves:
                buffer[to, :, self._start : self._end] = buffer[source, :, self._start : self._end]
        self._rows, self._start = rows, self._end - length
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (b[: self._rows, :, self._start : self._end] for b in self._buffers)
        return self.keys, self.values

    def _reserve(self, like: tuple[Tensor, Tensor], rows: int, length: int, more: int) -> None:
        """Have room for so many rows, and for so many columns before the last one and after it."""
        held, columns = self._buffers[0].shape[:3:2] if self._buffers else (0, 0)
        if rows <= held and length <= self._end and self._end + more <= columns:
            return
        old, used = [b[: self._rows, :, self._start : self._end].clone() for b in self._buffers], self._end - self._start
        if rows > held or length + more + GROWTH > columns:  # else what is there only moves to another column
            held, columns = max(rows, held), length + more + 2 * GROWTH
            self._buffers = [x.new_zeros(held, x.shape[1], columns, x.shape[3]) for x in like]
        self._end = columns - more - GROWTH
        self._start = self._end - used
        for buffer, source in zip(self._buffers, old, strict=False):
            buffer[: self._rows, :, self._start : self._end] = source
        self.dtype, self.device, self.is_initialized = like[0].dtype, like[0].device, True


class Kept:
    """Keys and values of texts, found again by how they begin; those not used for longest go first.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit, self._size, self._number = limit, 0, 0
        self._texts: OrderedDict[int, tuple[list[int], Pairs]] = OrderedDict()
        self._places: dict[int, int] = {}  # hash of a beginning, number of the newest text with it

    def add(self, ids: list[int], pairs: Pairs) -> None:
        """Keep a text: its ids and, for each layer, keys and values, (heads, len(ids), size)."""
        self._number += 1
        self._texts[self._number] = ids, pairs
        self._places.update((place, self._number) for place in _places(ids))
        self._size += _bytes(pairs)
        while self._size > self._limit:
            number, (gone, theirs) = self._texts.popitem(last=False)
            self._size -= _bytes(theirs)
            for place in _places(gone):
                if self._places.get(place) == number:
                    del self._places[place]

    def find(self, prompt: Sequence[int]) -> tuple[int, Pairs]:
        """How much of a prompt, its last token excepted, is kept, and the keys and values of a text that begins so."""
        number = 0
        for place in _places(prompt):
            number = self._places.get(place, number)
        if not number:
            return 0, []
        self._texts.move_to_end(number)
        ids, pairs = self._texts[number]
        most = min(len(ids), len(prompt) - 1)
        return next((i for i in range(most) if ids[i] != prompt[i]), most), pairs


def _places(ids: Sequence[int]) -> Iterator[int]:
    """A hash of each beginning of whole blocks."""
    place = 0
    for end in range(BLOCK, len(ids) + 1, BLOCK):
        place = hash((place, *ids[end - BLOCK : end]))
        yield place


def _bytes(pairs: Pairs) -> int:
    return sum(x.nbytes for pair in pairs for x in pair)


def _alike(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    """Prompts of which about as much is new: what is read together is as long as the longest."""
    alike: list[Prompt] = []
    for prompt in sorted(prompts, key=lambda p: p.new):
        if alike and prompt.new > 2 * alike[0].new + BLOCK:
            yield alike
            alike = []
        alike.append(prompt)
    yield alike


def _beginnings(prompts: Sequence[Prompt], layer: int, which: int, length: int) -> Tensor:
    """Keys (0) or values (1) of what is known of each prompt, padded on the left; (prompts, heads, length, size)."""
    example = next(p.kept[layer][which] for p in prompts if p.known)
    found = example.new_zeros(len(prompts), example.shape[0], length, example.shape[2])
    for to, prompt in zip(found, prompts, strict=True):
        if prompt.known:
            to[:, length - prompt.known :] = prompt.kept[layer][which][:, : prompt.known]
    return found


class Batch:
    """The rows being decoded, all ending at the same column.

    Shapes: B rows, L columns, V vocabulary; `lengths` (B,) says how many of the last columns are a row's own.
    """

    def __init__(self, model: Any, temperature: float, chat: Chat, version: str) -> None:
        self.model, self.temperature, self.chat, self.version = model, temperature, chat, version
        # Sliding windows and recurrent states cannot be padded on the left nor taken up in the middle.
        self.plain = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
        self.clear()
        self.kept = Kept()

    def clear(self) -> None:
        """Drop all rows."""
        self.rows: list[Row] = []
        self.lengths, self.width = torch.zeros(0, dtype=torch.long), 0
        self.cache: Any = None
        if self.plain:
            self.cache = DynamicCache(config=self.model.config)
            self.cache.layers = [Room() for _ in self.cache.layers]

    def joinable(self) -> bool:
        """Whether rows may join those that are there."""
        return self.plain or not self.rows

    @torch.inference_mode()
    def advance(self, new: list[Row], wants_in: Callable[[int], bool]) -> list[Row]:
        """Let `new` rows join, then decode until some row is done or others want to join. Returns the rows that are done."""
        if new:
            self._join(new)
        while self.rows:
            done = [r for r in self.rows if r.done]
            if done:
                self._leave(set(map(id, done)))
                return done
            if wants_in(len(self.rows)) and self.joinable():
                return []
            last = torch.tensor([[r.ids[-1]] for r in self.rows], device=self.model.device)
            self.lengths, self.width = self.lengths + 1, self.width + 1
            mask = torch.arange(self.width) >= (self.width - self.lengths)[:, None]
            self._draw(self.rows, self._forward(last, mask.long(), self.lengths[:, None] - 1, self.cache))
        return []

    def exchange(self, take: Callable[[Any], Any], version: str) -> bool:
        """Take other weights, unless rows are being decoded with these."""
        if not self.rows:
            self.kept = Kept()
            self.model = take(self.model)
            self.version = version
        return not self.rows

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        device = self.model.device
        out = self.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1].float()
        return logits  # (B, V)

    # ---- joining -------------------------------------------------------------------------------------------------------

    def _join(self, new: list[Row]) -> None:
        # A state's siblings in a search, and a group's first turns, have one prompt: it is read once.
        asking: dict[tuple[int, ...], list[Row]] = {}
        for row in new:
            row.version = self.version
            asking.setdefault(tuple(row.prompt), []).append(row)
        if not self.plain:
            return self._read([Prompt(ids, rows) for ids, rows in asking.items()])
        for alike in _alike(Prompt(ids, rows, *self.kept.find(ids)) for ids, rows in asking.items()):
            self._read(alike)
        return None

    def _read(self, prompts: list[Prompt]) -> None:
        """Read what is new of some prompts; their rows get a first token and join."""
        known, new = max(p.known for p in prompts), max(p.new for p in prompts)
        cache = DynamicCache(config=self.model.config)
        if known:
            for i, layer in enumerate(cache.layers):
                layer.update(*(_beginnings(prompts, i, j, known) for j in (0, 1)))
        ids = torch.tensor([[0] * (new - p.new) + list(p.ids[p.known :]) for p in prompts])
        mask = torch.tensor([[0] * (known - p.known) + [1] * p.known + [0] * (new - p.new) + [1] * p.new for p in prompts])
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0)[:, known:], cache)
        rows = [row for p in prompts for row in p.rows]
        copies = torch.tensor([i for i, p in enumerate(prompts) for _ in p.rows])
        lengths = mask.sum(1)
        self._draw(rows, logits[copies.to(logits.device)])
        if self.plain:
            self._settle(cache, mask, lengths, copies)
        else:
            cache.batch_select_indices(copies.to(self.model.device))
            self.cache, self.width = cache, mask.shape[1]
        self.rows = self.rows + rows
        self.lengths = torch.cat([self.lengths, lengths[copies]])

    def _settle(self, cache: Any, mask: Tensor, lengths: Tensor, copies: Tensor) -> None:
        """Put what was read, without holes, below the rows that are there."""
        longest = int(lengths.max())
        order = mask.argsort(dim=1, stable=True)[:, -longest:][copies].to(self.model.device)
        rows = copies.to(self.model.device)
        for ours, theirs in zip(self.cache.layers, cache.layers, strict=True):
            ours.join(*(x[rows[:, None], :, order].transpose(1, 2) for x in (theirs.keys, theirs.values)))
        self.width = max(self.width, longest)

    # ---- leaving -------------------------------------------------------------------------------------------------------

    def _leave(self, done: set[int]) -> None:
        """Take rows out. The last ones move to where they were."""
        gone, stay = ([i for i, r in enumerate(self.rows) if (id(r) in done) is out] for out in (True, False))
        if self.plain:
            for i in gone:
                self._keep(i)
        count = len(stay)
        if not count and not self.plain:
            return self.clear()
        moves = list(zip([i for i in stay if i >= count], [i for i in gone if i < count], strict=True))
        place = dict(moves)
        order = sorted(stay, key=lambda i: place.get(i, i))
        self.rows, self.lengths = [self.rows[i] for i in order], self.lengths[order]
        if self.plain:
            self.width = int(self.lengths.max()) if count else 0
            for layer in self.cache.layers:
                layer.leave(moves, count, self.width)
        else:
            self.cache.batch_select_indices(torch.tensor(order, device=self.model.device))
        return None

    def _keep(self, i: int) -> None:
        own = int(self.lengths[i])  # the last token was drawn but never read
        text = (self.rows[i].prompt + self.rows[i].ids)[:own]
        self.kept.add(text, [(x.keys[i, :, -own:].clone(), x.values[i, :, -own:].clone()) for x in self.cache.layers])

    # ---- drawing -------------------------------------------------------------------------------------------------------

    def _draw(self, rows: list[Row], logits: Tensor) -> None:
        """Draw one token for each row by inverting its distribution at the row's own uniform number."""
        logprobs = torch.log_softmax(logits, -1)
        if self.temperature == 0:
            chosen = logits.argmax(-1)
        else:
            heights = torch.softmax(logits.double() / self.temperature, -1).cumsum(-1)
            uniform = torch.tensor([r.uniforms[len(r.ids)] for r in rows], dtype=heights.dtype, device=heights.device)
            chosen = torch.searchsorted(heights, (uniform * heights[:, -1])[:, None]).squeeze(1).clamp(max=logits.shape[-1] - 1)
        taken = logprobs.gather(1, chosen[:, None]).squeeze(1)
        if not bool(torch.isfinite(taken).all()):
            raise SamplerFailure("the model gives no finite probabilities: its weights are broken")
        for row, token, logprob in zip(rows, chosen.tolist(), taken.tolist(), strict=True):
            row.ids.append(token)
            row.logprobs.append(logprob)
            row.stopped = token in self.chat.end_ids or self._stops(row.ids)

    def _stops(self, ids: list[int]) -> bool:
        if not self.chat.dialect.stop:
            return False
        tail = self.chat.tokenizer.decode(ids[-16:], skip_special_tokens=False)
        return any(s in tail for s in self.chat.dialect.stop)
