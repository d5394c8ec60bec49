"""What was read is not read again, and nothing shows of it but the time saved."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.sampling import SampleRequest, decoding
from agentgym.sampling.decoding import BLOCK, Kept, Pairs
from agentgym.sampling.transformers import TransformersSampler, load, score
from tests.core.test_publish import make, probe_of, saved  # noqa: F401
from tests.templates import tokenizer


def same(model: Any, prompt: list[int], sample: Any) -> None:
    again = score(model, prompt + sample.token_ids)[len(prompt) - 1 :]
    assert sample.logprobs == pytest.approx(again, abs=1e-4)


@pytest.mark.parametrize("growth", [1, 3, 128])
def test_conversations_go_on_from_what_was_read(growth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen conversations of six turns, five at once, with buffers that have to grow and move all the time."""
    monkeypatch.setattr(decoding, "GROWTH", growth)
    model = make(0)
    sampler, read = TransformersSampler(model, tokenizer("chatml"), max_tokens=9, max_batch=5), list[int]()
    forward = sampler._batch._forward
    monkeypatch.setattr(sampler._batch, "_forward", lambda ids, *rest: (read.append(ids.numel()), forward(ids, *rest))[1])
    spoken: list[tuple[list[int], Any]] = []

    async def talk(number: int) -> None:
        rng = random.Random(number)
        prompt = list(range(3, 60)) if number % 2 else [rng.randrange(250) for _ in range(rng.randrange(4, 60))]
        for turn in range(6):
            sample = (await sampler.sample([SampleRequest([], [], prompt, 100 * number + turn)]))[0]
            spoken.append((prompt, sample))
            prompt = prompt + sample.token_ids + [rng.randrange(250) for _ in range(rng.randrange(1, 12))]

    async def go() -> None:
        try:
            await asyncio.gather(*map(talk, range(16)))
        finally:
            await sampler.close()

    asyncio.run(go())
    for prompt, sample in spoken:
        same(model, prompt, sample)
    assert sum(read) < sum(len(p) + len(s.token_ids) for p, s in spoken) / 2


def test_what_other_weights_read_is_forgotten(saved: dict[str, Path]) -> None:  # noqa: F811
    sampler = TransformersSampler(saved["0"], max_tokens=9, version="0")
    prompt = [7 * i % 250 for i in range(50)]

    async def go() -> list[Any]:
        try:
            first = await sampler.sample([SampleRequest([], [], prompt, 0)])
            await sampler.publish(saved["1"], "1", probe_of(saved["1"]))
            return first + await sampler.sample([SampleRequest([], [], prompt, 0)])
        finally:
            await sampler.close()

    for name, sample in zip("01", asyncio.run(go()), strict=True):
        same(load(saved[name])[0], prompt, sample)


def pairs_of(ids: list[int]) -> Pairs:
    """Keys that are the ids themselves."""
    return [(torch.tensor(ids, dtype=torch.float32)[None, :, None],) * 2]


texts = st.lists(
    st.lists(st.integers(0, 1), max_size=4).map(lambda bits: [i for b in bits for i in [b] * (BLOCK + b)]), max_size=12
)


@given(texts, st.integers(0, 40 * BLOCK))
@settings(max_examples=200, deadline=None)
def test_kept_texts_are_found_by_how_they_begin(made: list[list[int]], room: int) -> None:
    """Against a search through all texts: what is found does begin so, and is as long as whole blocks can tell."""
    whole, small = Kept(), Kept(limit=8 * room)
    for ids in made:
        for kept in (whole, small):
            length, pairs = kept.find(ids)
            assert length < max(len(ids), 1)
            assert not length or pairs[0][0][0, :length, 0].tolist() == ids[:length]
        longest = max((common(ids, other) for other in made[: made.index(ids)]), default=0)
        assert whole.find(ids)[0] >= min(longest // BLOCK * BLOCK, len(ids) - 1)
        for kept in (whole, small):
            kept.add(ids, pairs_of(ids))
    assert small._size == sum(8 * len(ids) for ids, _ in small._texts.values()) <= 8 * room
    assert set(small._places.values()) <= set(small._texts)


def common(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
