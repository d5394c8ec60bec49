"""Training on preference pairs, by TRL's `DPOTrainer`: full weights or LoRA, resumable at any step.

Rows arrive tokenised and masked, so TRL prepares nothing, and the loss is one of `losses.LOSSES`: TRL's stable trainers have
three of them. KTO runs here too, on pairs, so that all methods share one path; TRL's `KTOTrainer` gives the same loss on the
same rows (a test holds that).

The reference's log-probabilities are known before the first step, for each token:

- "logged": what the sampler wrote down when it acted. No reference model runs at all (off-policy DPO of Agent Q,
  arXiv:2408.07199), and the policy that is improved may be another one than the one that acted.
- "initial": those of the model that the training begins with, computed once (ETO, arXiv:2403.02502: the previous iterate).
- a directory: those of the model in it, computed once.

KTO's z needs what the reference thinks of completions after other prompts; logged log-probabilities cannot say that. With
them z is 0, which is what a policy near its reference has.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor
from trl import DPOConfig, DPOTrainer

from agentgym import UserError

from .base import Training, fit, open_model, pad_id, trainable
from .batches import Collator, items, scored
from .losses import Constants, Side, find_loss, kl_estimate, preference_loss
from .packing import BUDGET, Micro, logps_of, score, share, takes_trees, token_logps
from .plots import preference_curves
from .rows import PairRow

MEASURED = ("chosen_logps", "rejected_logps", "margin", "accuracy")


class Preference(Training):
    """How to train on pairs; what is not named here is as in `Training`, with pairs for rows.

    Attributes:
        loss: A name in `losses.LOSSES`.
        beta: Of the loss; by default what `losses.LOSSES` says.
        gamma: SimPO's margin; by default what `losses.LOSSES` says.
        sft_weight: Of the SFT term; by default what the method says: 1 where it has one, 0 elsewhere.
        reference: "logged", "initial" or a model directory; methods without a reference do not look at it.
        from_divergence: Count only what comes from the first id on in which the sides differ.
        lr: Peak learning rate; a tenth or less of what SFT takes.
    """

    loss: str = "dpo"
    beta: float | None = Field(None, gt=0)
    gamma: float | None = Field(None, ge=0)
    sft_weight: float | None = Field(None, ge=0)
    reference: str = "initial"
    from_divergence: bool = False
    lr: float = Field(1e-6, gt=0)

    @field_validator("loss")
    @classmethod
    def _exists(cls, loss: str) -> str:
        find_loss(loss)
        return loss

    def constants(self) -> Constants:
        """The numbers in the formula."""
        method = find_loss(self.loss)
        given = {"beta": self.beta, "gamma": self.gamma, "sft": self.sft_weight}
        return Constants(**{name: getattr(method, name) if value is None else value for name, value in given.items()})

    @property
    def uses(self) -> str:
        """Which reference: as `reference`, or "" for a method that has none."""
        return self.reference if find_loss(self.loss).reference else ""

    @property
    def mismatches(self) -> bool:
        """Whether KTO's z is measured."""
        return self.loss == "kto" and self.uses != "logged"


def train_preference(
    model_dir: Path, pairs: Sequence[PairRow], out_dir: Path, config: Preference, *, resume: bool = False
) -> dict[str, float]:
    """Train a model on pairs and save it, with its tokenizer, as a model directory (an adapter directory with LoRA).

    Args:
        model_dir: The model to begin with.
        pairs: What to prefer to what; see `rows.pair_rows`.
        out_dir: Where the model, checkpoints, ``metrics.jsonl`` and ``preference.png`` go. A line of metrics has step, loss,
            chosen_logps and rejected_logps (nats a side), margin (beta times the difference of both scores), accuracy (share of
            pairs whose chosen side scores higher), kl (nats a token; not without a reference), lr and tokens_per_second.
        config: How.
        resume: Go on from the last checkpoint in `out_dir`, if there is one.

    Returns:
        ``steps``, the means of all that was measured over the last tenth of the lines, ``tokens``, ``seconds`` and
        ``tokens_per_second`` (of this run).

    Raises:
        UserError: no pairs, a pair that cannot be trained on, no model, or a training to be resumed that was another one.
    """
    _check(pairs, config)
    out_dir = Path(out_dir)
    model, tokenizer = open_model(model_dir)
    share(model)
    made = items(pairs, diverging=config.from_divergence, mismatched=config.mismatches)
    done = fit(
        partial(Trainer, config, ref_model=_reference(config, tokenizer)),
        DPOConfig,
        model,
        tokenizer,
        Collator(made, pad_id(tokenizer), trees=takes_trees(model)),
        rows=pairs,
        lengths=[max(len(p.chosen.input_ids), len(p.rejected.input_ids)) for p in pairs],
        config=config,
        out_dir=out_dir,
        resume=resume,
        also=(*MEASURED, "kl") if config.uses else MEASURED,
        precompute_ref_log_probs=True,
    )
    preference_curves(out_dir / "metrics.jsonl", out_dir / "preference.png")
    return done


class Trainer(DPOTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer with our rows and our losses.

    Shapes: B pairs are R = 2B sequences, all chosen ones before all rejected ones, of at most L ids.
    """

    def __init__(self, config: Preference, **options: Any) -> None:
        self.config = config
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """TRL calls this once, before the first step: the policy still is the initial model, its adapters change nothing yet."""
        if self.config.uses not in ("", "logged"):
            rows = [row for item in self.data_collator.items for row in item.rows]
            sequences, device = scored(rows), self.args.device
            with self.accelerator.autocast():
                found = logps_of(self.ref_model or self.model, sequences, BUDGET, self.data_collator.pad, device).tolist()
            for i, (row, s) in enumerate(zip(rows, sequences, strict=True)):
                known = dict(zip(s.at.tolist(), s.token.tolist(), strict=True))
                logprobs = [found[known[k]] if k in known else 0.0 for k in range(len(row.input_ids))]
                rows[i] = replace(row, logprobs=logprobs)
            self.data_collator.refer(rows)
            self.ref_model: Any = None  # has done its work
        return dataset

    def logps(self, model: Any, micro: Micro) -> Tensor:
        """Log-probabilities of the action tokens, (m,)."""
        with self.accelerator.autocast():
            return score(model, micro, token_logps)

    def compute_loss(self, model: Any, inputs: dict[str, Any], **_: Any) -> Tensor:
        """The mean loss of B pairs."""
        micro, ref, count = inputs["micro"].to(self.args.device), inputs["ref_logps"], 2 * len(inputs["smoothing"])
        logps = self.logps(model, micro)
        sums = [_by_sequence(x, micro, count).chunk(2) for x in (logps, ref, torch.ones_like(ref))]
        chosen, rejected = (Side(*of_side) for of_side in zip(*sums, strict=True))
        constants = self.config.constants()
        if "kl_micro" in inputs:
            others = inputs["kl_micro"].to(self.args.device)
            with torch.no_grad():
                theirs = (self.logps(model, others), inputs["kl_ref_logps"])
            constants = replace(constants, kl=kl_estimate(*(_by_sequence(x, others, count) for x in theirs)))
        self._measure(chosen, rejected, constants.beta)
        if self.config.uses:
            self._note("kl", kl_to(ref, logps.detach()))
        return preference_loss(self.config.loss, chosen, rejected, constants, inputs["smoothing"]).mean()

    def _measure(self, chosen: Side, rejected: Side, beta: float) -> None:
        score = find_loss(self.config.loss).score
        gap = (score(chosen) - score(rejected)).detach()
        for name, value in zip(MEASURED, (chosen.logps, rejected.logps, beta * gap, (gap > 0).float()), strict=True):
            self._note(name, value.detach().mean())

    def _note(self, name: str, value: Tensor) -> None:
        self._metrics["train"][name].append(value.item())  # TRL logs the mean since its last line


def _by_sequence(values: Tensor, micro: Micro, count: int) -> Tensor:
    """From (m,) to the sums over each of `count` sequences."""
    return values.new_zeros(count).index_add(0, micro.sequence, values)


def kl_to(ref: Tensor, logps: Tensor) -> Tensor:
    """How far the policy is from the reference, in nats a token: the mean of (log pi - log ref)^2 / 2; both (m,).

    That is the KL divergence to second order where the reference sampled the tokens (Schulman 2020, the estimator k2). Of tokens
    from elsewhere it still says how far they moved; the unbiased k3 would be ruled by single tokens that became likely.
    """
    return ((logps - ref) ** 2).mean() / 2


def _check(pairs: Sequence[PairRow], config: Preference) -> None:
    sides = [s for p in pairs for s in (p.chosen, p.rejected)]
    if not pairs:
        raise UserError("there are no pairs to train on: make more, or choose less strictly")
    if any(w not in (0.0, 1.0) for s in sides for w in s.weights):
        raise UserError("preference losses take weights of 0 and 1 only: round them")
    if not all(any(s.weights) for s in sides):
        raise UserError("a pair has a side on which nothing has a weight: leave such pairs out, as pair_rows does")
    if not all(0 <= p.smoothing <= 0.5 for p in pairs):
        raise UserError("the smoothing of a pair lies between 0 and 0.5: swap the sides of pairs that are more likely wrong")
    if config.uses == "logged" and (unknown := sum(p.chosen.logprobs is None or p.rejected.logprobs is None for p in pairs)):
        raise UserError(
            f"{unknown} of {len(pairs)} pairs have no logged logprobs (another vocabulary, or played without a model): "
            "take the reference 'initial' or a model directory"
        )
    if config.loss == "kto" and len(pairs) < 2:
        raise UserError("KTO measures each pair against another one: give at least two pairs")


def _reference(config: Preference, tokenizer: Any) -> Any:
    """The model of a named reference directory, None for every other reference."""
    if config.uses in ("", "initial", "logged"):
        return None
    model, words = open_model(Path(config.reference))
    if words.get_vocab() != tokenizer.get_vocab():
        raise UserError(f"the reference {config.reference} has another vocabulary than the model: take one of the same family")
    return share(trainable(model))
