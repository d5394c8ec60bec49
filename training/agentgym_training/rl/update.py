"""The update: advantages in, better weights out. Full weights or LoRA, on a CPU or one GPU (float32 weights, arithmetic in bf16).

The model stands in evaluation mode: with dropout its logprobs would not be those that it sampled with. Sequences go through in
pieces of `RL.budget` tokens whose gradients add up to exactly those of the whole, since each token's share is known before; what
sequences of a piece begin with in common goes through once (`packing`).
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from peft import get_peft_model
from torch import Tensor

from agentgym import UserError
from agentgym.sampling.base import Probe
from agentgym.sampling.transformers import load, load_tokenizer, without_peft_warning
from agentgym.tokens import Chat
from agentgym_training.base import pad_id, peft_config, trainable
from agentgym_training.files import at_once
from agentgym_training.packing import Micro, Scored, logps_of, packed, share

from .batch import Example, logps_and_entropy
from .buffer import ReplayBuffer
from .config import RL
from .credit import Floats
from .critic import open_critic
from .methods import Archer
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

    Raises:
        UserError: a directory holds no model, or one with another vocabulary.
    """

    def __init__(self, model_dir: Path, start: Path, config: RL) -> None:
        self.config, self.objective = config, config.objective
        self.accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
        model, self.tokenizer = _policy(model_dir, start, config)
        if Chat(self.tokenizer).vocabulary != Chat(load_tokenizer(model_dir)).vocabulary:
            raise UserError(f"the checkpoint {start} has another vocabulary than {model_dir}, with which it began: remove it")
        self.chat = Chat(self.tokenizer)
        self.pad = pad_id(self.tokenizer)
        self.reference = self._reference(model_dir) if self.objective.kl else None
        weights = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.model, self.optimizer = self.accelerator.prepare(model.eval(), optimizer)
        share(self.accelerator.unwrap_model(self.model))
        if (start / OPTIMIZER).exists():
            self.optimizer.load_state_dict(torch.load(start / OPTIMIZER, map_location=self.accelerator.device))

        self.critic = open_critic(model_dir, config, self.accelerator)
        self.buffer = ReplayBuffer(max(config.batches, config.by.critic.buffer if isinstance(config.by.critic, Archer) else 1))
        if start != model_dir:
            self.buffer.load(start)
            if self.critic is not None:
                self.critic.load(start)

    def learn(self, examples: Sequence[Example], turns: Turns, number: int) -> tuple[dict[str, float], Floats, Floats]:
        """Improve the policy by a batch, and by those before it that are remembered.

        Args:
            examples: Sequences that together hold M trained tokens.
            turns: Of them.
            number: Of the update; all that is drawn follows from it.

        Returns:
            What `credit` and `update` measured; then of the batch's tokens the advantages and the policy's logprobs, (M,) each.
        """
        self.buffer.add(examples, turns)
        all_examples, all_turns = self.buffer.newest(self.config.batches)
        advantages, judged = self.credit(all_examples, all_turns, number)
        steps = self.config.steps * min(len(self.buffer.batches), self.config.batches)
        measured, new = self.update(all_examples, advantages, all_turns.sampled, number, steps)
        mine = slice(len(turns.sampled))
        return judged | measured, advantages[mine], new[mine]

    def credit(self, examples: Sequence[Example], turns: Turns, number: int) -> tuple[Floats, dict[str, float]]:
        """The advantage of each trained token, (M,), and what a critic measured on the way."""
        if self.critic is not None:
            return self.critic.judge(examples, turns, number, self.buffer.batches)
        assert self.config.by.credit is not None
        return turns.per_token(self.config.by.credit(turns)), {}

    # ---- learning ------------------------------------------------------------------------------------------------------

    def update(
        self, examples: Sequence[Example], advantages: Floats, sampled: Floats, number: int, steps: int | None = None
    ) -> tuple[dict[str, float], Floats]:
        """Improve the policy by sequences whose advantages are known.

        Args:
            examples: Sequences that together hold M trained tokens.
            advantages: (M,).
            sampled: (M,), the logprobs that the tokens were sampled with.
            number: Of the update; the order of the sequences follows from it.
            steps: Of the optimizer; by default `RL.steps`, as for one batch.

        Returns:
            Means over trained tokens, of the policy when it met them: ``entropy``, ``drift`` (difference between sampler
            and trainer, in nats), ``kl`` (from the reference, with one), ``clipped`` (share), and ``ratio_max``, ``grad_norm``.
            Then (M,), the logprobs that the policy gave them.
        """
        device = self.accelerator.device
        streams = {k: torch.from_numpy(v).float().to(device) for k, v in (("advantages", advantages), ("sampled", sampled))}
        steps = steps or self.config.steps
        if steps > 1:
            streams["old"] = self._logps(self.model, examples)
        if self.reference is not None:
            streams["reference"] = self._reference_logps(examples)
        measured, new = _Means(), torch.zeros_like(streams["sampled"])
        for chosen in self._parts(examples, number, steps):
            measured.most("grad_norm", self._step(chosen, streams, measured, new))
        return measured.result(), new.double().cpu().numpy()

    def _parts(self, examples: Sequence[Example], number: int, steps: int) -> Iterable[list[Example]]:
        """The sequences of each step of the optimizer; those of an episode stay together."""
        episodes = sorted({e.episode for e in examples})
        random.Random(f"{self.config.seed}/{number}").shuffle(episodes)
        for part in range(steps):
            mine = set(episodes[part::steps])
            if mine:
                yield [e for e in examples if e.episode in mine]

    def _step(self, chosen: Sequence[Example], streams: dict[str, Tensor], measured: "_Means", new: Tensor) -> float:
        objective, device = self.objective, self.accelerator.device
        token = np.concatenate([e.token for e in chosen])
        episode = torch.from_numpy(np.repeat([e.episode for e in chosen], [len(e.token) for e in chosen])).to(device)
        weight = torch.zeros_like(streams["sampled"])
        weight[torch.from_numpy(token).to(device)] = shares(objective.mean, episode, objective.constant)
        for micro, learning in self._pieces(chosen, streams):
            with torch.set_grad_enabled(learning), self.accelerator.autocast():
                logps, entropy = logps_and_entropy(self.model, micro, with_entropy=objective.entropy > 0)
                mine = {k: v[micro.token] for k, v in streams.items()}
                losses, ratio = token_losses(logps, entropy, mine, micro.sequence, objective)
            if learning:
                self.accelerator.backward((weight[micro.token] * losses).sum())
            new[micro.token] = logps.detach()
            self._measure(logps.detach(), entropy.detach(), ratio, mine, measured)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        size = 0.0 if norm is None else float(norm)
        if np.isfinite(size):  # weights that are not finite would be there for good; the alarm for it is in `health`
            self.optimizer.step()
        self.optimizer.zero_grad()
        return size

    def _pieces(self, chosen: Sequence[Example], streams: dict[str, Tensor]) -> Iterator[tuple[Micro, bool]]:
        """The sequences piece by piece, and whether a piece has a gradient; those without advantage are measured alone."""
        known = streams["advantages"].cpu().numpy()
        always = bool(self.objective.kl or self.objective.entropy)
        for learning in (True, False):
            mine = [e for e in chosen if (always or bool(known[e.token].any())) == learning]
            for micro in self._packed(self.model, mine):
                yield micro, learning

    def _packed(self, model: Any, sequences: Sequence[Scored]) -> Iterator[Micro]:
        return packed(model, sequences, self.config.budget, self.pad, self.accelerator.device)

    def _measure(self, logps: Tensor, entropy: Tensor, ratio: Tensor, mine: dict[str, Tensor], measured: "_Means") -> None:
        objective, advantages = self.objective, mine["advantages"]
        clipped = ((ratio > 1 + objective.clip_high) & (advantages > 0)) | ((ratio < 1 - objective.clip_low) & (advantages < 0))
        measured.add("entropy", entropy)
        measured.add("clipped", clipped.float())
        measured.add("drift", (mine.get("old", logps) - mine["sampled"]).abs())
        if "reference" in mine:
            measured.add("kl", divergence(logps, mine["reference"], objective.kl_estimator))
        measured.most("ratio_max", float(ratio.max()))

    def _logps(self, model: Any, sequences: Sequence[Scored]) -> Tensor:
        """What `model` thinks of all M trained tokens, (M,)."""
        with self.accelerator.autocast():
            return logps_of(model, sequences, self.config.budget, self.pad, self.accelerator.device)

    # ---- the reference -------------------------------------------------------------------------------------------------

    def _reference(self, model_dir: Path) -> Any:
        """A frozen model; the string "base" where it is the policy without its adapters."""
        if self.config.lora and not self.config.reference:
            return "base"
        model = soup(self.config.reference or (model_dir,), self.chat.vocabulary)
        return share(model.to(self.accelerator.device).eval().requires_grad_(False))

    def _reference_logps(self, examples: Sequence[Example]) -> Tensor:
        if self.reference != "base":
            return self._logps(self.reference, examples)
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            return self._logps(self.model, examples)

    # ---- weights -------------------------------------------------------------------------------------------------------

    def write(self, directory: Path) -> None:
        """The policy as a Hugging Face directory; adapters stay adapters."""
        self.accelerator.unwrap_model(self.model).save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def save(self, directory: Path) -> None:
        """What is needed beside the policy to go on as if nothing had happened."""
        torch.save(self.optimizer.state_dict(), directory / OPTIMIZER)
        self.buffer.save(directory)
        if self.critic is not None:
            self.critic.save(directory)

    def probe(self, ids: Sequence[int]) -> Probe:
        """What the policy gives for a text, by which a sampler checks that it has the same weights."""
        taken = list(ids[:PROBE_IDS])
        rest = np.arange(1, len(taken))
        return Probe(taken, self._logps(self.model, [Scored(taken, rest, rest - 1)]).tolist())


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
        with at_once(base) as part:
            trainable(model).save_pretrained(part)
            tokenizer.save_pretrained(part)
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
