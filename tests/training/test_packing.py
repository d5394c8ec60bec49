"""Trees through a model: what sequences have in common goes through once, and nobody notices but the clock."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from agentgym_training import packing
from agentgym_training.batches import Collator, items
from agentgym_training.packing import (
    Scored,
    logps_of,
    pack,
    packed,
    parts,
    score,
    share,
    takes_trees,
    token_logps,
    trie,
)
from agentgym_training.rows import PairRow, Row

CPU = torch.device("cpu")
SIZE = {"vocab_size": 40, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
forests = st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=12), min_size=1, max_size=9)


def sequences(ids):
    """Every third position of each, the last one among them, is scored."""
    found, count = [], 0
    for one in ids:
        at = np.arange(len(one) - 1, 0, -3)[::-1].copy()
        found.append(Scored(one, at, count + np.arange(len(at))))
        count += len(at)
    return found


@given(forests)
@settings(deadline=None)
def test_each_beginning_stands_once(ids):
    row, positions, paths, fresh = trie(ids)
    assert [row[p].tolist() for p in paths] == ids
    assert all(positions[p].tolist() == list(range(len(p))) for p in paths)
    assert len(row) == sum(fresh) == len({tuple(s[: i + 1]) for s in ids for i in range(len(s))})


@given(forests, st.integers(1, 60))
@settings(deadline=None)
def test_who_goes_together_fits(ids, budget):
    for trees in (True, False):
        made = list(parts(sequences(ids), budget, trees=trees))
        assert sorted(s.ids for part in made for s in part) == sorted(ids)
        for part in made:
            size = len(trie([s.ids for s in part])[0]) if trees else len(part) * max(len(s.ids) for s in part)
            assert size <= budget or len(part) == 1


@given(forests)
@settings(deadline=None)
def test_a_token_sees_what_comes_before_it_in_its_sequence_and_nothing_else(ids):
    """From the runs alone, without torch."""
    row, _, paths, _ = trie(ids)
    runs = pack(sequences(ids), 0, trees=True).runs
    above = {int(p[i]): {int(k) for k in p[: i + 1]} for p in paths for i in range(len(p))}
    seen = [
        {*keys[: i + 1 + (0 if b.shared is None else int(b.shared[r]))]}
        for b in runs.buckets
        for r, (queries, keys) in enumerate(zip(b.queries.tolist(), b.keys.tolist(), strict=True))
        for i in range(len(queries))
    ]
    assert len(runs.place) == len(row)
    assert {token: seen[place] for token, place in enumerate(runs.place.tolist())} == above


def models():
    torch.manual_seed(0)
    qwen = Qwen3ForCausalLM(Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True))
    return {"qwen3": qwen, "llama": LlamaForCausalLM(LlamaConfig(**SIZE, num_key_value_heads=1))}


def gradients(model):
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return found


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def both(request):
    """A model that takes trees, and its double that does not; in float64."""
    model = models()[request.param].double().eval()
    return share(copy.deepcopy(model)), model


@given(ids=forests, budget=st.integers(5, 80))
@settings(max_examples=12, deadline=None)
def test_a_tree_says_what_its_sequences_say_alone(both, ids, budget):
    """Log-probabilities and the gradients of a loss that is not linear in them."""
    shared, alone = both
    assert takes_trees(shared)
    assert not takes_trees(alone)
    chosen, found = sequences(ids), []
    for model, room in ((shared, budget), (alone, 1)):
        logps = torch.zeros(sum(len(s.at) for s in chosen), dtype=torch.float64)
        for micro in packed(model, chosen, room, 0, CPU):
            scored = score(model, micro, token_logps)
            (scored**2).sum().backward()
            logps[micro.token] = scored.detach().double()
        found.append((logps, gradients(model)))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)
    assert torch.allclose(logps_of(shared, chosen, budget, 0, CPU).double(), found[1][0], atol=1e-5)


def test_logits_in_pieces_are_those_at_once(both, monkeypatch):
    chosen = sequences([[1, 2, 3, 4, 5, 6], [1, 2, 3, 7, 8], [9, 1, 2]])
    for model in both:
        found = []
        for head in (2**27, 40):  # all, or one token's
            monkeypatch.setattr(packing, "HEAD", head)
            made = score(model, pack(chosen, 0, trees=takes_trees(model)), token_logps)
            (made**2).sum().backward()
            found.append((made.detach(), gradients(model)))
        assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(*found, strict=True))


def test_models_that_cannot_take_trees_get_padded_rows():
    mistral = share(MistralForCausalLM(MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=4)).eval())
    layers = ["full_attention", "sliding_attention", "full_attention"]
    config = Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=8, layer_types=layers, use_sliding_window=True, sliding_window=4)
    for model in (mistral, share(Qwen3ForCausalLM(config).eval())):
        assert not takes_trees(model)
        (micro,) = packed(model, sequences([[1, 2, 3], [1, 2, 4, 5]]), 8, 0, CPU)
        assert micro.input_ids.tolist() == [[1, 2, 4, 5], [1, 2, 3, 0]]
        assert score(model, micro, token_logps).isfinite().all()


def test_a_model_that_only_seems_to_take_trees_is_found_out():
    """One that does more with its logits, or with its hidden states, than the common way."""
    model = models()["llama"].eval()
    forward = model.forward

    def capped(*args, **kwargs):
        made = forward(*args, **kwargs)
        made.logits = 0.2 * torch.tanh(made.logits / 0.2)
        return made

    model.forward = capped
    assert not takes_trees(share(model))
    assert model.config._attn_implementation == "sdpa"


def test_both_sides_of_a_pair_share_what_they_begin_with():
    """And several pairs of one task share it too; what is scored, and the reference's word for it, stays with its side."""
    prompt = list(range(1, 20))

    def row(*ids):
        return Row(prompt + list(ids), [0.0] * len(prompt) + [1.0] * len(ids), [0.0] * len(prompt) + [-float(i) for i in ids])

    pairs = [PairRow(row(30, 31), row(30, 32, 33)), PairRow(row(30, 31), row(34))]
    made = {trees: Collator(items(pairs, diverging=False, mismatched=False), 0, trees=trees) for trees in (True, False)}
    tree, padded = (made[trees]([{"row": 0}, {"row": 1}]) for trees in (True, False))
    assert tree["micro"].input_ids.tolist() == [[*prompt, 30, 31, 32, 33, 34]]
    assert padded["micro"].input_ids.shape == (4, 22)
    for batch in (tree, padded):
        assert batch["micro"].targets.tolist() == [30, 31, 30, 31, 30, 32, 33, 34]
        assert batch["micro"].sequence.tolist() == [0, 0, 1, 1, 2, 2, 2, 3]
        assert batch["ref_logps"].tolist() == [-30, -31, -30, -31, -30, -32, -33, -34]
    assert made[True].tokens == made[False].tokens == sum(len(r.input_ids) for p in pairs for r in (p.chosen, p.rejected))
    assert dataclasses.replace(tree["micro"], runs=None).inputs.keys() == padded["micro"].inputs.keys()
