"""The transformers sampler takes other weights while it works: each turn is one version's, and wrong weights are found out."""

import asyncio
import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentgym import SamplerFailure, UserError
from agentgym.sampling import SampleRequest
from agentgym.sampling.base import Probe
from agentgym.sampling.transformers import TransformersSampler, load, probe, score
from tests.templates import tokenizer

IDS = list(range(3, 60))


def make(seed: int, width: int = 32) -> Any:
    torch.manual_seed(seed)
    size = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen3Config(
        vocab_size=len(tokenizer("chatml")),
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        **size,
    )
    made = Qwen3ForCausalLM(config)
    with torch.no_grad():
        made.model.embed_tokens.weight *= 8
    return made.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories: models "0" to "2", one that is wider, and adapters "a" and "b" on model 0."""
    root, words = tmp_path_factory.mktemp("weights"), tokenizer("chatml")
    for name, model in {"0": make(0), "1": make(1), "2": make(2), "wide": make(0, 48)}.items():
        model.save_pretrained(root / name)
        words.save_pretrained(root / name)
    base = Qwen3ForCausalLM.from_pretrained(root / "0")
    for name in "ab":
        torch.manual_seed(ord(name))
        config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        get_peft_model(copy.deepcopy(base), config).save_pretrained(root / name)
        words.save_pretrained(root / name)
    return {d.name: d for d in root.iterdir()}


def probe_of(directory: Path) -> Probe:
    return probe(load(directory)[0], IDS)


@pytest.mark.parametrize("names", [("1", "2", "0"), ("a", "b", "a")])
def test_each_turn_is_written_by_one_version(saved: dict[str, Path], names: tuple[str, ...]) -> None:
    """Forty turns under way, and three publications among them: each turn's logprobs are those of the version it names."""
    sampler = TransformersSampler(saved["0"], max_tokens=24, max_batch=6, version="0")
    asked = [SampleRequest([], [], [(3 * i + j) % 250 for j in range(5 + i)], i) for i in range(40)]

    async def publish() -> None:
        for name in names:
            await asyncio.sleep(0.05)
            await sampler.publish(saved[name], name, probe_of(saved[name]))

    async def go() -> list[Any]:
        try:
            return (await asyncio.gather(*(sampler.sample([r]) for r in asked), publish()))[:-1]
        finally:
            await sampler.close()

    samples = [group[0] for group in asyncio.run(go())]
    models = {name: load(saved[name])[0] for name in {"0", *names}}
    assert len({s.version for s in samples}) > 1
    for request, sample in zip(asked, samples, strict=True):
        prompt = request.prompt_ids or []
        again = score(models[sample.version], prompt + sample.token_ids)[len(prompt) - 1 :]
        assert sample.logprobs == pytest.approx(again, abs=1e-4)


def test_weights_that_are_others_are_found_out(saved: dict[str, Path], tmp_path: Path) -> None:
    sampler = TransformersSampler(saved["0"], max_tokens=4, version="0")
    request = [SampleRequest([], [], IDS, 0)]

    async def go() -> None:
        with pytest.raises(SamplerFailure, match=r"two was not published: the engine serves other weights"):
            await sampler.publish(saved["1"], "two", probe_of(saved["2"]))
        with pytest.raises(SamplerFailure, match="was not published"):
            await sampler.sample(request)
        await sampler.publish(saved["2"], "two", probe_of(saved["2"]))
        assert (await sampler.sample(request))[0].version == "two"
        for directory in (saved["wide"], tmp_path):
            with pytest.raises(UserError, match="do not fit the model"):
                await sampler.publish(directory, "x", probe_of(saved["2"]))
        with pytest.raises(UserError, match="nothing to publish"):
            await sampler.publish(tmp_path / "nowhere", "x", probe_of(saved["2"]))
        with pytest.raises(UserError, match="at least two ids"):
            await sampler.publish(saved["1"], "x", Probe([1], []))
        assert (await sampler.sample(request))[0].version == "two"
        await sampler.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("name", "served", "spoil"),
    [
        ("1", "0", lambda w: w | {"model.norm.weight": torch.ones(3)}),
        ("1", "0", lambda w: w | {"model.layers.7.mlp.up_proj.weight": torch.ones(3)}),
        ("1", "0", lambda w: {k: v for k, v in w.items() if "layers.1.mlp" not in k}),
        ("b", "a", lambda w: w | {next(iter(w)): torch.ones(5, 5)}),
        ("b", "a", lambda w: dict(list(w.items())[:-1])),
        ("b", "0", lambda w: w | {list(w)[-1]: torch.ones(5, 5)}),
        ("b", "0", lambda w: w | {"base_model.model.lm_head.lora_A.weight": torch.ones(2, 32)}),
    ],
)
def test_a_refused_publication_changes_nothing(
    saved: dict[str, Path], tmp_path: Path, name: str, served: str, spoil: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Most weights would fit: none of them is taken, and the next publication finds the model as it was."""
    shutil.copytree(saved[name], tmp_path / "spoilt")
    (file,) = (tmp_path / "spoilt").glob("*.safetensors")
    save_file({k: v.contiguous() for k, v in spoil(load_file(file)).items()}, file)
    sampler = TransformersSampler(saved[served], max_tokens=4, version="old")
    before = score(sampler.model, IDS)

    async def go() -> None:
        with pytest.raises(UserError, match=r"do not fit the model .*names or shapes are others"):
            await sampler.publish(tmp_path / "spoilt", "new", probe_of(saved[name]))
        assert score(sampler.model, IDS) == before
        assert (await sampler.sample([SampleRequest([], [], IDS, 0)]))[0].version == "old"
        await sampler.publish(saved[name], "new", probe_of(saved[name]))
        assert score(sampler.model, IDS) != before
        await sampler.close()

    asyncio.run(go())


def test_a_sampler_with_an_adapter_takes_adapters_alone(saved: dict[str, Path]) -> None:
    sampler = TransformersSampler(saved["a"], max_tokens=4)

    async def go() -> None:
        with pytest.raises(UserError, match="this sampler has an adapter: publish adapters"):
            await sampler.publish(saved["1"], "1", probe_of(saved["1"]))
        await sampler.publish(saved["b"], "b", probe_of(saved["b"]))
        await sampler.close()

    asyncio.run(go())
