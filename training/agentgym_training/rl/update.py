"""The update: advantages in, better weights out. Full weights or LoRA, on a CPU or one GPU (float32 weights, arithmetic in bf16).

The model stands in evaluation mode: with dropout its logprobs would not be those that it sampled with. Sequences go through in
pieces of `RL.budget` tokens whose gradients add up to exactly those of the whole, since each token's share is known before.
"""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from peft import get_peft_model
from torch import Tensor

from agentgym.sampling.base import Probe
from agentgym.sampling.transformers import load, without_peft_warning
from agentgym.tokens import Chat
from agentgym_training.base import pad_id, peft_config, trainable

from .batch import Example, Micro, logps_and_entropy, packed
from .config import RL
from .credit import Floats
from .critic import open_critic
from .objective import Objective, divergence, importance, policy_loss, ratios, shares
from .reference import soup
from .turns import Turns

CLIP_NORM = 1.0
PROBE_IDS = 256  # of a text by which a sampler checks its weights
OPTIMIZER = "optimizer.pt"


def token_losses(
    logps: Tensor, entropy: Tensor, streams: dict[str, Tensor], sequence: Tensor, objective: Objective
) -> tuple[Tensor, Tensor]:
    """The loss of each token before it is multiplied by its share, and its ratio; (m,) each.

    Args:
        logps: Of the policy.
        entropy: Of the policy.
        streams: ``advantages``, ``sampled``; ``old``, where it is not the policy as it stands; ``reference``, with a KL term.
        sequence: Number of each token's sequence.
        objective: What to minimise.
    """
    old = streams.get("old", logps.detach())
    ratio = ratios(logps, old, sequence, objective)
    loss = policy_loss(ratio, streams["advantages"], objective) * importance(old, streams["sampled"], objective)
    if objective.kl:
        apart = divergence(logps, streams["reference"], objective.kl_estimator)
        loss = loss + objective.kl * (apart * ratio if objective.kl_unbiased else apart)
    if objective.entropy:
        loss = loss - objective.entropy * entropy
    return loss, ratio.detach()


class Learner:
    """A policy and its optimizer.

    Args:
        model_dir: The model that the training began with.
        start: Where to go on: `model_dir` itself, or a directory that `save` wrote.
        config: How.

    Attributes:
        chat: Template and dialect of the model.
    """

    def __init__(self, model_dir: Path, start: Path, config: RL) -> None:
        self.config, self.objective = config, config.objective
        self.accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
        model, self.tokenizer = _policy(model_dir, start, config)
        self.chat = Chat(self.tokenizer)
        self.pad = pad_id(self.tokenizer)
        self.reference = self._reference(model_dir) if self.objective.kl else None
        weights = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.model, self.optimizer = self.accelerator.prepare(model.eval(), optimizer)
        if (start / OPTIMIZER).exists():
            self.optimizer.load_state_dict(torch.load(start / OPTIMIZER, map_location=self.accelerator.device))

        self.critic = open_critic(model_dir, config, self.accelerator)
        if self.critic is not None and start != model_dir:
            self.critic.load(start)

    def credit(self, examples: Sequence[Example], turns: Turns, number: int) -> tuple[Floats, dict[str, float]]:
        """The advantage of each trained token, (M,), and what a critic measured on the way."""
        if self.critic is not None:
            return self.critic.judge(examples, turns, number)
        assert self.config.by.credit is not None
        return turns.per_token(self.config.by.credit(turns)), {}

    # ---- learning ------------------------------------------------------------------------------------------------------

    def update(
        self, examples: Sequence[Example], advantages: Floats, sampled: Floats, number: int
    ) -> tuple[dict[str, float], Floats]:
        """Improve the policy by one batch.

        Args:
            examples: Sequences that together hold M trained tokens.
            advantages: (M,).
            sampled: (M,), the logprobs that the tokens were sampled with.
            number: Of the update; the order of the sequences follows from it.

        Returns:
            Means over trained tokens, of the policy when it met them: ``entropy``, ``drift`` (difference between sampler
            and trainer, in nats), ``kl`` (from the reference, with one), ``clipped`` (share), and ``ratio_max``, ``grad_norm``.
            Then (M,), the logprobs that the policy gave them; not a number where nothing was to be learnt.
        """
        device = self.accelerator.device
        streams = {k: torch.from_numpy(v).float().to(device) for k, v in (("advantages", advantages), ("sampled", sampled))}
        if self.config.steps > 1:
            streams["old"] = self.logps(self.model, examples, len(sampled))
        if self.reference is not None:
            streams["reference"] = self._reference_logps(examples, len(sampled))
        measured, new = _Means(), torch.full_like(streams["sampled"], float("nan"))
        for chosen in self._parts(examples, number):
            measured.most("grad_norm", self._step(chosen, streams, measured, new))
        return measured.result(), new.double().cpu().numpy()

    def _parts(self, examples: Sequence[Example], number: int) -> Iterable[list[Example]]:
        """The sequences of each step of the optimizer; those of an episode stay together."""
        episodes = sorted({e.episode for e in examples})
        random.Random(f"{self.config.seed}/{number}").shuffle(episodes)
        for part in range(self.config.steps):
            mine = set(episodes[part :: self.config.steps])
            if mine:
                yield [e for e in examples if e.episode in mine]

    def _step(self, chosen: Sequence[Example], streams: dict[str, Tensor], measured: "_Means", new: Tensor) -> float:
        objective, device = self.objective, self.accelerator.device
        token = np.concatenate([e.token for e in chosen])
        episode = torch.from_numpy(np.repeat([e.episode for e in chosen], [len(e.token) for e in chosen])).to(device)
        share = torch.zeros_like(streams["sampled"])
        share[torch.from_numpy(token).to(device)] = shares(objective.mean, episode, objective.constant)
        idle = not objective.kl and not objective.entropy  # without advantage a sequence has no gradient then
        for micro in packed(
            [e for e in chosen if not (idle and self._nothing(e, streams))], self.config.budget, self.pad, device
        ):
            logps, entropy = logps_and_entropy(self.model, micro, with_entropy=objective.entropy > 0)
            mine = {k: v[micro.token] for k, v in streams.items()}
            losses, ratio = token_losses(logps, entropy, mine, micro.row, objective)
            self.accelerator.backward((share[micro.token] * losses).sum())
            new[micro.token] = logps.detach()
            self._measure(logps.detach(), entropy.detach(), ratio, mine, measured)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        size = 0.0 if norm is None else float(norm)
        if np.isfinite(size):  # weights that are not finite would be there for good; the alarm for it is in `health`
            self.optimizer.step()
        self.optimizer.zero_grad()
        return size

    @staticmethod
    def _nothing(example: Example, streams: dict[str, Tensor]) -> bool:
        return not bool(streams["advantages"][torch.from_numpy(example.token).to(streams["advantages"].device)].any())

    def _measure(self, logps: Tensor, entropy: Tensor, ratio: Tensor, mine: dict[str, Tensor], measured: "_Means") -> None:
        objective, advantages = self.objective, mine["advantages"]
        clipped = ((ratio > 1 + objective.clip_high) & (advantages > 0)) | ((ratio < 1 - objective.clip_low) & (advantages < 0))
        measured.add("entropy", entropy)
        measured.add("clipped", clipped.float())
        measured.add("drift", (mine.get("old", logps) - mine["sampled"]).abs())
        if "reference" in mine:
            measured.add("kl", divergence(logps, mine["reference"], objective.kl_estimator))
        measured.most("ratio_max", float(ratio.max()))

    @torch.no_grad()
    def logps(self, model: Any, examples: Sequence[Example], count: int) -> Tensor:
        """What `model` thinks of all `count` trained tokens, (M,)."""
        found = torch.zeros(count, device=self.accelerator.device)
        with self.accelerator.autocast():
            for micro in packed(examples, self.config.budget, self.pad, self.accelerator.device):
                found[micro.token] = self._scored(model, micro)
        return found

    def _scored(self, model: Any, micro: Micro) -> Tensor:
        return logps_and_entropy(model, micro, with_entropy=False)[0].float()

    # ---- the reference -------------------------------------------------------------------------------------------------

    def _reference(self, model_dir: Path) -> Any:
        """A frozen model; the string "base" where it is the policy without its adapters."""
        if self.config.lora and not self.config.reference:
            return "base"
        model = soup(self.config.reference or (model_dir,), self.chat.vocabulary)
        return model.to(self.accelerator.device).eval().requires_grad_(False)

    def _reference_logps(self, examples: Sequence[Example], count: int) -> Tensor:
        if self.reference != "base":
            return self.logps(self.reference, examples, count)
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            return self.logps(self.model, examples, count)

    # ---- weights -------------------------------------------------------------------------------------------------------

    def write(self, directory: Path) -> None:
        """The policy as a Hugging Face directory; adapters stay adapters."""
        self.accelerator.unwrap_model(self.model).save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def save(self, directory: Path) -> None:
        """What is needed beside the policy to go on as if nothing had happened."""
        torch.save(self.optimizer.state_dict(), directory / OPTIMIZER)
        if self.critic is not None:
            self.critic.save(directory)

    @torch.no_grad()
    def probe(self, ids: Sequence[int]) -> Probe:
        """What the policy gives for a text, by which a sampler checks that it has the same weights."""
        taken = torch.tensor([list(ids[:PROBE_IDS])], device=self.accelerator.device)
        count = taken.shape[1] - 1
        at = torch.arange(1, count + 1, device=taken.device)
        micro = Micro(taken, torch.zeros_like(at), at, at - 1)
        with self.accelerator.autocast():
            return Probe(taken[0].tolist(), self._scored(self.model, micro).tolist())


class _Means:
    """Means over tokens, and greatest values."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._most: dict[str, float] = {}

    def add(self, name: str, values: Tensor) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + float(values.sum())
        self._counts[name] = self._counts.get(name, 0) + len(values)

    def most(self, name: str, value: float) -> None:
        before = self._most.get(name, 0.0)
        self._most[name] = max(before, value) if np.isfinite(value) else value  # what is not finite is to be seen

    def result(self) -> dict[str, float]:
        return {name: total / self._counts[name] for name, total in self._sums.items()} | self._most


def whole(model_dir: Path, base: Path) -> Path:
    """A directory of a whole model: an adapter becomes part of its base first, in float32, where that loses nothing."""
    if not (model_dir / "adapter_config.json").exists():
        return model_dir
    if not base.exists():
        model, tokenizer = load(model_dir, "cpu")
        part = base.with_suffix(".part")
        trainable(model).save_pretrained(part)
        tokenizer.save_pretrained(part)
        part.replace(base)
    return base


def _policy(model_dir: Path, start: Path, config: RL) -> tuple[Any, Any]:
    """The model to be trained, in float32, and its tokenizer."""
    model, tokenizer = load(start, "cpu")
    adapters = peft_config(config.lora)
    if adapters is None:
        return model.requires_grad_(True), tokenizer
    if start == model_dir:
        torch.manual_seed(config.seed)
        with without_peft_warning():
            return get_peft_model(model, adapters), tokenizer
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name)
    return model, tokenizer
