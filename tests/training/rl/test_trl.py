"""Our loss and its gradients are those of TRL's GRPOTrainer on the same rows, for the settings that both have."""

import warnings

import datasets
import numpy as np
import pytest
import torch

from agentgym.sampling.transformers import load
from agentgym_training.rl.batch import Example, logps_and_entropy, packed
from agentgym_training.rl.objective import Objective, shares
from agentgym_training.rl.update import token_losses

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the vLLM that is installed, which has no part in this
    from trl import GRPOConfig, GRPOTrainer


@pytest.fixture(scope="module")
def trl(nano_dir, tmp_path_factory):
    """TRL's trainer on a model, as `trainer, model`; settings are changed between calls."""
    model, words = load(nano_dir)
    args = GRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=2,
        num_generations=2,
        report_to="none",
    )
    prompts = datasets.Dataset.from_dict({"prompt": ["x", "y"]})
    trainer = GRPOTrainer(model=model, reward_funcs=lambda **_: [0.0], args=args, train_dataset=prompts, processing_class=words)
    trainer.current_gradient_accumulation_steps = 1
    trainer.args.steps_per_generation = 1
    trainer.model.train()
    return trainer


PROMPT, COMPLETION, ROWS = 7, 13, 4


@pytest.fixture(scope="module")
def drawn():
    """Rows of several turns: ids, where the agent wrote, and logprobs of others for it."""
    generator = torch.Generator().manual_seed(3)
    lengths = [13, 9, 11, 6]
    return {
        "ids": [torch.randint(20, 200, (PROMPT + n,), generator=generator).tolist() for n in lengths],
        "mask": [[k % 5 < 3 for k in range(n)] for n in lengths],
        "noise": torch.randn(3, ROWS, COMPLETION, generator=generator) * 0.2,
        "advantages": torch.tensor([1.0, -0.7, 0.3, -1.2]),
    }


SETTINGS = [
    ({"loss_type": "grpo"}, Objective(correction="none", mean="episodes")),
    ({"loss_type": "grpo", "beta": 0.05}, Objective(correction="none", mean="episodes", kl=0.05)),
    ({"loss_type": "grpo", "beta": 0.05}, Objective(correction="none", mean="episodes", kl=0.05, kl_unbiased=True)),
    ({"loss_type": "dapo", "epsilon_high": 0.28}, Objective(correction="none", mean="tokens", clip_high=0.28)),
    ({"loss_type": "dr_grpo"}, Objective(correction="none", mean="constant", constant=64)),
    (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 3e-4, "epsilon_high": 4e-4},
        Objective(ratio="sequence", clip_low=3e-4, clip_high=4e-4, correction="none", mean="episodes"),
    ),
    ({"loss_type": "grpo", "vllm": "token_truncate"}, Objective(cap=1.1, mean="episodes")),
    ({"loss_type": "bnpo", "vllm": "token_mask", "beta": 0.02}, Objective(correction="mask", cap=1.2, mean="tokens", kl=0.02)),
]


@pytest.mark.parametrize(("theirs", "ours"), SETTINGS, ids=lambda x: x.get("loss_type") if isinstance(x, dict) else "")
@pytest.mark.parametrize("budget", [10_000, 20])
def test_loss_and_gradients_are_those_of_trl(trl, drawn, theirs, ours, budget):
    """Relative 1e-4, in one piece as well as sequence by sequence."""
    model = trl.model
    examples, place = [], 0
    for i, (ids, mask) in enumerate(zip(drawn["ids"], drawn["mask"], strict=True)):
        at = PROMPT + np.flatnonzero(mask)
        examples.append(Example(ids, at, place + np.arange(len(at)), i))
        place += len(at)
    lost, wanted = trl_loss(trl, drawn, theirs, ours), gradients(model)
    streams = {
        name: torch.cat([drawn["streams"][k, i][torch.tensor(m)] for i, m in enumerate(drawn["mask_padded"])])
        for k, name in enumerate(("old", "reference", "sampled"))
    }
    streams["advantages"] = torch.cat([drawn["advantages"][[i] * sum(m)] for i, m in enumerate(drawn["mask"])])
    episode = torch.tensor([i for i, m in enumerate(drawn["mask"]) for _ in range(sum(m))])
    share = shares(ours.mean, episode, ours.constant)
    total = 0.0
    for micro in packed(examples, budget, 0, torch.device("cpu")):
        logps, entropy = logps_and_entropy(model, micro, with_entropy=False)
        piece, _ = token_losses(logps, entropy, {k: v[micro.token] for k, v in streams.items()}, micro.row, ours)
        loss = (share[micro.token] * piece).sum()
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(lost, rel=1e-4, abs=1e-7)
    ratio = (gradients(model) - wanted).norm() / wanted.norm()
    assert ratio < 1e-4
    model.zero_grad()


def trl_loss(trl, drawn, theirs, ours):
    """TRL's loss; its gradients are in the model after it, and the streams that it was given in `drawn`."""
    padded = [m + [False] * (COMPLETION - len(m)) for m in drawn["mask"]]
    ids = torch.tensor([r + [0] * (PROMPT + COMPLETION - len(r)) for r in drawn["ids"]])
    inside = torch.tensor([[k < len(m) for k in range(COMPLETION)] for m in drawn["mask"]]).long()
    inputs = {
        "prompt_ids": ids[:, :PROMPT],
        "prompt_mask": torch.ones(ROWS, PROMPT).long(),
        "completion_ids": ids[:, PROMPT:],
        "completion_mask": inside,
        "tool_mask": torch.tensor(padded).long(),
        "advantages": drawn["advantages"],
    }
    with torch.no_grad():
        whole = torch.cat([inputs["prompt_mask"], inside], 1)
        logps, _, _ = trl._get_per_token_logps_and_entropies(trl.model, ids, whole, COMPLETION)
    drawn["streams"], drawn["mask_padded"] = logps + drawn["noise"], padded
    inputs |= {"old_per_token_logps": drawn["streams"][0], "ref_per_token_logps": drawn["streams"][1]}
    inputs["num_items_in_batch"] = torch.tensor(sum(map(sum, padded)))
    w = (drawn["streams"][0] - drawn["streams"][2]).exp()
    mode = theirs.get("vllm")
    outside = (w > ours.cap) | (w < 1 / ours.cap)
    inputs["importance_sampling_ratio"] = w.clamp(max=ours.cap) if mode == "token_truncate" else w.masked_fill(outside, 0.0)
    trl.use_vllm = trl.vllm_importance_sampling_correction = mode is not None
    trl.loss_type, trl.beta = theirs["loss_type"], theirs.get("beta", 0.0)
    trl.importance_sampling_level = theirs.get("importance_sampling_level", "token")
    trl.epsilon_low, trl.epsilon_high = theirs.get("epsilon_low", 0.2), theirs.get("epsilon_high", 0.2)
    trl.args.use_bias_correction_kl = ours.kl_unbiased
    trl.max_completion_length = 64
    trl.model.zero_grad()
    loss = trl._compute_loss(trl.model, inputs)
    loss.backward()
    return loss.item()


def gradients(model):
    found = torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found
