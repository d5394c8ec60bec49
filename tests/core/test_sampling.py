"""The transformers sampler: exact ids, true logprobs, seeds that hold in any company, continuous batching."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from agentgym import SamplerFailure, UserError, assistant
from agentgym.dialects import REACT
from agentgym.sampling import Sample, SampleRequest, Scripted
from agentgym.sampling.named import open_sampler
from agentgym.sampling.transformers import TransformersSampler, load, weights_version
from tests.templates import tokenizer

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def words() -> Any:
    return tokenizer("chatml")


@pytest.fixture(scope="module")
def model(words: Any) -> Any:
    torch.manual_seed(0)
    size = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    config = Qwen3Config(vocab_size=len(words), head_dim=16, max_position_embeddings=256, tie_word_embeddings=True, **size)
    made = Qwen3ForCausalLM(config)
    with torch.no_grad():
        made.model.embed_tokens.weight *= 8  # a fresh model is too unsure of itself to notice mistakes
    return made.eval()


def requests(count: int, seed: int = 0) -> list[SampleRequest]:
    return [SampleRequest([], [], [(3 * i + j) % 250 for j in range(5 + 7 * i % 40)], seed + i) for i in range(count)]


def run(sampler: TransformersSampler, asked: Sequence[SampleRequest], *, apart: bool = False) -> list[Sample]:
    async def go() -> list[Sample]:
        try:
            if apart:
                return [s for r in asked for s in await sampler.sample([r])]
            return [s for group in await asyncio.gather(*(sampler.sample([r]) for r in asked)) for s in group]
        finally:
            await sampler.close()

    return asyncio.run(go())


def logprobs_again(model: Any, prompt: list[int], ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.float(), -1).gather(1, torch.tensor(ids)[:, None]).squeeze(1)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_logprobs_are_those_of_a_plain_forward_pass(model: Any, words: Any, temperature: float) -> None:
    asked = requests(40)
    samples = run(TransformersSampler(model, words, max_tokens=20, temperature=temperature, max_batch=8), asked)
    for request, sample in zip(asked, samples, strict=True):
        assert sample.token_ids
        assert sample.logprobs
        again = logprobs_again(model, request.prompt_ids or [], sample.token_ids)
        assert torch.allclose(torch.tensor(sample.logprobs), again, atol=1e-4)
        assert sample.finish == ("stop" if sample.token_ids[-1] in {words.eos_token_id} else "length")
        assert len(sample.token_ids) <= 20


def test_a_seed_gives_the_same_turn_in_any_company(model: Any, words: Any) -> None:
    asked = requests(24, seed=5)
    together = run(TransformersSampler(model, words, max_tokens=24, max_batch=6), asked)
    alone = run(TransformersSampler(model, words, max_tokens=24), asked, apart=True)
    assert [s.token_ids for s in together] == [s.token_ids for s in alone]
    other = run(TransformersSampler(model, words, max_tokens=24), requests(24, seed=99))
    assert [s.token_ids for s in other] != [s.token_ids for s in alone]


def test_a_prompt_that_many_share_is_read_once(model: Any, words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [SampleRequest([], [], [*range(1, 30 + i % 3)], i) for i in range(12)]
    apart = run(TransformersSampler(model, words, max_tokens=12), asked, apart=True)
    sampler, read = TransformersSampler(model, words, max_tokens=12), list[tuple[int, int]]()
    forward = sampler._batch._forward

    def counted(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        read.append((ids.shape[0], ids.shape[1]))
        return forward(ids, *rest)

    monkeypatch.setattr(sampler._batch, "_forward", counted)
    together = run(sampler, asked)
    assert [s.token_ids for s in together] == [s.token_ids for s in apart]
    for one, other in zip(together, apart, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    prefills = [rows for rows, length in read if length > 1]
    assert sum(prefills) < 12
    assert all(rows <= 3 for rows in prefills)


def test_sampling_follows_the_distribution(model: Any, words: Any) -> None:
    """Frequencies of the first token over many seeds against the model's own probabilities (chi-square, 5 sigma)."""
    prompt, count = [1, 2, 3, 4, 5], 3000
    samples = run(
        TransformersSampler(model, words, max_tokens=1, max_batch=256), [SampleRequest([], [], prompt, s) for s in range(count)]
    )
    with torch.inference_mode():
        p = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1].double(), -1)
    seen = torch.bincount(torch.tensor([s.token_ids[0] for s in samples if s.token_ids]), minlength=len(p)).double()
    common = p * count >= 5
    observed = torch.cat([seen[common], seen[~common].sum()[None]])
    expected = count * torch.cat([p[common], p[~common].sum()[None]])
    chi = ((observed - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    assert chi < freedom + 5 * (2 * freedom) ** 0.5


def test_a_short_turn_does_not_wait_for_a_long_one(model: Any, words: Any) -> None:
    order: list[str] = []

    async def go() -> None:
        sampler = TransformersSampler(model, words, max_tokens=200, max_batch=4)

        async def one(name: str, prompt: list[int]) -> None:
            await sampler.sample([SampleRequest([], [], prompt)])
            order.append(name)

        long = asyncio.create_task(one("long", [7] * 5))
        await asyncio.sleep(0.02)
        await asyncio.gather(*(one("short", [9] * 250) for _ in range(3)))  # the context leaves six tokens
        await long
        await sampler.close()

    asyncio.run(go())
    assert order == ["short"] * 3 + ["long"]


def test_closing_leaves_nobody_waiting(model: Any, words: Any) -> None:
    async def go() -> list[Any]:
        sampler = TransformersSampler(model, words, max_tokens=240, max_batch=4)
        calls = [asyncio.create_task(sampler.sample([SampleRequest([], [], [1, 2, 3], seed=i)])) for i in range(9)]
        await asyncio.sleep(0.02)
        await sampler.close()
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    results = asyncio.run(go())
    assert any(isinstance(r, SamplerFailure) for r in results)
    assert all(isinstance(r, SamplerFailure | list) for r in results)


def test_a_model_that_diverged_is_a_failure(words: Any) -> None:
    broken = MistralForCausalLM(MistralConfig(vocab_size=len(words), **SMALL))
    with torch.no_grad():
        broken.model.embed_tokens.weight.fill_(float("nan"))
    with pytest.raises(SamplerFailure, match="no finite probabilities"):
        run(TransformersSampler(broken, words, max_tokens=3), requests(2))
    for wrong in ({"max_batch": 0}, {"temperature": -1.0}, {"max_tokens": 0}):
        with pytest.raises(UserError, match="at least"):
            TransformersSampler(broken, words, **wrong)


def test_rows_that_cannot_be_padded_wait_for_an_empty_batch(words: Any) -> None:
    torch.manual_seed(0)
    windowed = MistralForCausalLM(
        MistralConfig(vocab_size=len(words), sliding_window=16, max_position_embeddings=256, **SMALL)
    ).eval()
    asked = [SampleRequest([], [], [1, 2, 3] * (i + 1), seed=i) for i in range(12)]
    samples = run(TransformersSampler(windowed, words, max_tokens=30, max_batch=4), asked)
    for request, sample in zip(asked, samples, strict=True):
        again = logprobs_again(windowed, request.prompt_ids or [], sample.token_ids or [])
        assert torch.allclose(torch.tensor(sample.logprobs), again, atol=1e-4)


def test_callers_that_are_gone_hold_nothing_up(model: Any, words: Any) -> None:
    async def go() -> None:
        sampler = TransformersSampler(model, words, max_tokens=240, max_batch=4)
        gone = asyncio.create_task(sampler.sample([SampleRequest([], [], [1, 2, 3], seed=i) for i in range(40)]))
        await asyncio.sleep(0.02)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        (sample,) = await sampler.sample([SampleRequest([], [], [9] * 250)])
        assert sample.token_ids
        assert len(sampler._waiting) == 0
        await sampler.close()

    asyncio.run(go())


def test_stop_strings_of_the_dialect_end_a_turn(model: Any, words: Any) -> None:
    sampler = TransformersSampler(model, words, max_tokens=30, dialect=REACT)
    row = sampler.chat.encode("Action: f\nAction Input: {}\nObservation:")
    assert sampler._batch._stops(row)
    assert not sampler._batch._stops(row[:-1])
    run(sampler, requests(2))


def test_what_cannot_be_sampled_says_why(model: Any, words: Any, tmp_path: Path) -> None:
    sampler = TransformersSampler(model, words)
    with pytest.raises(UserError, match="needs prompt_ids"):
        asyncio.run(sampler.sample([SampleRequest([], [])]))
    with pytest.raises(SamplerFailure, match="no room in a context of 256"):
        asyncio.run(sampler.sample([SampleRequest([], [], [1] * 256)]))
    with pytest.raises(UserError, match="no policy"):
        open_sampler(str(tmp_path / "missing"))
    with pytest.raises(UserError, match="no model can be loaded"):
        open_sampler(str(tmp_path))


def test_no_progress_bar_is_shown_and_the_setting_comes_back(nano_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logging = pytest.importorskip("transformers.utils.logging")
    for shown, set_to in (
        (True, logging.enable_progress_bar),
        (False, logging.disable_progress_bar),
        (True, logging.enable_progress_bar),
    ):
        set_to()
        load(nano_dir)
        assert logging.is_progress_bar_enabled() is shown
    assert capsys.readouterr().err == ""


def test_a_model_that_breaks_fails_its_batch_and_goes_on(model: Any, words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = TransformersSampler(model, words, max_tokens=4)
    whole = sampler._batch._forward
    broken = [True]

    def forward(*args: Any) -> torch.Tensor:
        if broken.pop() if broken else False:
            raise RuntimeError("out of memory")
        return whole(*args)

    monkeypatch.setattr(sampler._batch, "_forward", forward)

    async def go() -> list[Any]:
        first = await asyncio.gather(*(sampler.sample([r]) for r in requests(3)), return_exceptions=True)
        second = await sampler.sample(requests(2))
        await sampler.close()
        return [*first, *second]

    results = asyncio.run(go())
    assert [type(r) for r in results] == [SamplerFailure] * 3 + [Sample] * 2
    assert "RuntimeError: out of memory" in str(results[0])


def test_a_directory_is_loaded_and_its_weights_are_named(model: Any, words: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m")
    words.save_pretrained(tmp_path / "m")
    sampler = open_sampler(str(tmp_path / "m"), max_tokens=8, dialect="hermes-text")
    assert isinstance(sampler, TransformersSampler)
    assert sampler.version.startswith("m@")
    same = run(TransformersSampler(model, words, max_tokens=8), requests(3))
    assert [s.token_ids for s in run(sampler, requests(3))] == [s.token_ids for s in same]
    before = weights_version(tmp_path / "m")
    with torch.no_grad():
        model.model.norm.weight += 0.01
    model.save_pretrained(tmp_path / "m")
    assert weights_version(tmp_path / "m") != before
    with torch.no_grad():
        model.model.norm.weight -= 0.01


def test_scripted_policies_may_answer_with_text() -> None:
    (sample,) = asyncio.run(Scripted(lambda r: "hello").sample([SampleRequest([], [])]))
    assert sample.message == assistant("hello")
    assert open_sampler("oracle").version == "oracle"
