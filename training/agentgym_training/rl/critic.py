"""Critics: networks that say what a state, or an action in it, is worth. For PPO and ArCHer.

A critic is a copy of the first policy's transformer with small heads, (m, H) numbers of m chosen positions. The value of a state
is read at the last token before the action, the value of an action at its own last token; one pass over an episode gives both for
all its turns. Advantages are standardised over the batch before the policy learns from them.
"""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from agentgym.sampling.transformers import load
from agentgym_training.base import pad_id
from agentgym_training.packing import Micro, packed, share

from . import credit
from .batch import Example
from .buffer import Experience
from .config import RL
from .credit import Floats, Ints
from .methods import Archer, Ppo
from .turns import Turns

FILE = "critic.pt"
CLIP_NORM = 1.0


class Critic(Protocol):
    """Gives credit, and learns from what it gave it for."""

    def judge(
        self, examples: Sequence[Example], turns: Turns, number: int, batches: Sequence[Experience] = ()
    ) -> tuple[Floats, dict[str, float]]:
        """The advantage of each trained token, (M,), and what was measured on the way.

        Args:
            examples: The sequences of a batch.
            turns: Its turns.
            number: Of the update; all that is drawn follows from it.
            batches: What there is to learn from for a critic that is off-policy; without any, it is this batch.
        """

    def save(self, directory: Path) -> None:
        """Write what is needed to go on."""

    def load(self, directory: Path) -> None:
        """Go on from there."""


def open_critic(model_dir: Path, config: RL, accelerator: Accelerator) -> Critic | None:
    """The critic of the method; None where it needs none."""
    how = config.by.critic
    if how is None:
        return None
    if isinstance(how, Ppo):
        return ValueCritic(how, model_dir, config, accelerator)
    return TwinCritic(how, model_dir, config, accelerator)


class Heads(torch.nn.Module):
    """A transformer that gives `count` numbers, all 0 at first, at chosen positions."""

    def __init__(self, body: Any, count: int) -> None:
        super().__init__()
        width = body.config.get_text_config().hidden_size
        self.body = body
        last = torch.nn.Linear(width, count)
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        self.head = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), last)

    def forward(self, micro: Micro, at: Tensor) -> Tensor:
        """(m, count), at places `at` (m,) of what `micro` reads."""
        hidden = self.body(**micro.inputs).last_hidden_state.flatten(0, 1)
        found: Tensor = self.head(hidden.index_select(0, at)).float()
        return found


@dataclass(frozen=True)
class Place:
    """Where a network is read.

    Attributes:
        wanted: (M,), above 0 for the tokens concerned.
        column: Which of its numbers.
        before: Whether at the position before the token, where it is not known yet, or at its own.
    """

    wanted: Floats
    column: slice
    before: bool


class _Trained:
    """What both critics share: the network, its optimizer, and passes over sequences."""

    def __init__(self, how: Ppo | Archer, count: int, model_dir: Path, config: RL, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        torch.manual_seed(config.seed)
        model, tokenizer = load(model_dir, "cpu")
        self.pad = pad_id(tokenizer)
        net = Heads(share(model).base_model, count).eval().to(accelerator.device)
        self.net: Any = net
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=how.rate * config.lr, betas=(0.9, 0.95), weight_decay=0.0)

    def state(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def save(self, directory: Path) -> None:
        """Write what is needed to go on."""
        torch.save(self.state(), directory / FILE)

    def restore(self, directory: Path) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(directory / FILE, map_location=self.accelerator.device, weights_only=False)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        return state

    def packed(self, examples: Sequence[Example]) -> Iterator[Micro]:
        return packed(self.net.body, examples, self.config.budget, self.pad, self.accelerator.device)

    def read(self, net: Any, examples: Sequence[Example], places: Sequence[Place]) -> list[Floats]:
        """What `net` gives at each place, (columns, M), 0 elsewhere; one pass for all of them."""
        found = [np.zeros((p.column.stop - p.column.start, len(p.wanted))) for p in places]
        with torch.no_grad(), self.accelerator.autocast():
            for micro in self.packed(examples):
                for one, (values, token) in zip(found, _given(net, micro, places), strict=True):
                    one[:, token] = values.T.double().cpu().numpy()
        return found

    def learn(self, examples: Sequence[Example], goals: Sequence[tuple[Place, Floats]]) -> float:
        """One step on squared errors. Returns their mean.

        Args:
            examples: Sequences.
            goals: Places, each with its targets, (columns, M).
        """
        device, total = self.accelerator.device, 0.0
        chosen, places = np.concatenate([e.token for e in examples]), [place for place, _ in goals]
        count = sum(float(place.wanted[chosen].sum()) for place in places)
        for micro in self.packed(examples):
            loss = torch.zeros((), device=device)
            with self.accelerator.autocast():
                given = _given(self.net, micro, places)
            for (values, token), (_, targets) in zip(given, goals, strict=True):
                target = torch.from_numpy(targets[:, token].T).float().to(device)
                loss = loss + (values - target).square().mean(1).sum() / count
            self.accelerator.backward(loss)
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total


def _given(net: Any, micro: Micro, places: Sequence[Place]) -> Iterator[tuple[Tensor, Ints]]:
    """Of each place what `net` gives, (m, columns), and the numbers of the m tokens that are here."""
    mine = [torch.from_numpy(p.wanted).to(micro.token.device)[micro.token] > 0 for p in places]
    at = [(micro.before if p.before else micro.at)[m] for p, m in zip(places, mine, strict=True)]
    parts = net(micro, torch.cat(at)).split([len(a) for a in at])
    return ((part[:, p.column], micro.token[m].cpu().numpy()) for p, m, part in zip(places, mine, parts, strict=True))


class ValueCritic(_Trained):
    """PPO's critic: a value for each turn, or for each token; it learns from returns estimated with its own values.

    Args:
        how: Its numbers.
        model_dir: Of the first policy.
        config: Of the training.
        accelerator: Of the training.
    """

    def __init__(self, how: Ppo, model_dir: Path, config: RL, accelerator: Accelerator) -> None:
        super().__init__(how, 1, model_dir, config, accelerator)
        self.how = how

    def judge(
        self, examples: Sequence[Example], turns: Turns, number: int, batches: Sequence[Experience] = ()
    ) -> tuple[Floats, dict[str, float]]:
        """GAE with the values as they are; then learn the targets."""
        how, count = self.how, len(turns.sampled)
        place = Place(np.ones(count) if how.tokens else _marked(turns.offsets, count), slice(0, 1), before=True)
        values = self.read(self.net, examples, [place])[0][0]
        if how.tokens:
            advantages = credit.gae(turns.token_rewards, values, turns.token_parents, how.gamma, how.lam)
            targets = advantages + values
        else:
            mine = values[turns.offsets]
            by_turn = credit.gae(turns.reward, mine, turns.parent, how.gamma, how.lam)
            advantages, targets = turns.per_token(by_turn), turns.per_token(by_turn + mine)
        rng, losses = random.Random(f"{self.config.seed}/{number}/critic"), list[float]()
        for _ in range(how.epochs):
            drawn = rng.sample(list(examples), len(examples))
            for start in range(0, len(drawn), how.size):
                losses.append(self.learn(drawn[start : start + how.size], [(place, targets[None])]))
        spread = float(np.var(targets[place.wanted > 0]))
        explained = 1 - float(np.var((targets - values)[place.wanted > 0])) / spread if spread else 0.0
        return _standardised(advantages), {"critic_loss": losses[-1], "critic_explained": explained}

    def load(self, directory: Path) -> None:
        """Go on from there."""
        self.restore(directory)


class TwinCritic(_Trained):
    """ArCHer's critic (arXiv:2402.19446): two Q and two V over utterances, learnt off-policy from the last batches.

    Q_i(s, a) is drawn to r + gamma V'_i(s') and V_i(s) to Q'_i(s, a); the primed ones are a slow copy of the network (Polyak).

    Departures: V is learnt on the actions that were played, and the policy too, where the authors' code samples new actions in
    old states. Only the last batches are kept, so their actions are nearly the policy's own, and no tokens are sampled for the
    critic. Advantages are the slow copy's, which is less noisy, the mean of both critics, since nothing is maximised over
    that could be overestimated. A critic that errs about a task, or does not see a slip of the pen, lets the policy unlearn what
    it could: so a share of what came corrects them (`credit.utterances`), what all attempts at a task share after as many turns
    is taken off, and a KL term keeps to the first policy.

    Args:
        how: Its numbers.
        model_dir: Of the first policy.
        config: Of the training.
        accelerator: Of the training.
    """

    def __init__(self, how: Archer, model_dir: Path, config: RL, accelerator: Accelerator) -> None:
        super().__init__(how, 4, model_dir, config, accelerator)
        self.how, self.slow = how, copy.deepcopy(self.net).requires_grad_(False)

    def judge(
        self, examples: Sequence[Example], turns: Turns, number: int, batches: Sequence[Experience] = ()
    ) -> tuple[Floats, dict[str, float]]:
        """Learn; then judge."""
        rng, known = random.Random(f"{self.config.seed}/{number}/critic"), batches or [(examples, turns)]
        losses = [self._step(*rng.choice(known), rng) for _ in range(self.how.steps)]
        q, v = (found.mean(0) for found in self.values(self.slow, examples, turns))
        found = credit.utterances(turns.reward, q, v, turns.parent, self.how.gamma, self.how.lam)
        alone = np.bincount(turns.level)[turns.level] == 1
        advantages = np.where(alone, found, credit.dr_grpo(found, turns.level))
        measured = {"critic_loss": float(np.mean(losses[-10:])), "critic_value": float(v.mean())}
        return _standardised(turns.per_token(advantages)), measured

    def values(self, net: Any, examples: Sequence[Example], turns: Turns) -> tuple[Floats, Floats]:
        """Both Q of each action and both V of the state before it, (2, T) each; 0 for turns that are not in `examples`."""
        q, v = self.read(net, examples, _places(turns))
        return q[:, turns.offsets + turns.tokens - 1], v[:, turns.offsets]

    def _step(self, examples: Sequence[Example], turns: Turns, rng: random.Random) -> float:
        """Learn from some episodes of a batch."""
        episodes = sorted({e.episode for e in examples})
        mine = set(rng.sample(episodes, min(self.how.size, len(episodes))))
        chosen = [e for e in examples if e.episode in mine]
        action, state = self.values(self.slow, chosen, turns)
        ahead = np.stack([credit.next_mean(v, turns.parent) for v in state])
        goals = turns.reward + self.how.gamma * ahead, action  # of Q and of V, (2, T) each
        loss = self.learn(chosen, [(p, np.repeat(g, turns.tokens, 1)) for p, g in zip(_places(turns), goals, strict=True)])
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(fast, self.how.tau)
        return loss

    def state(self) -> dict[str, Any]:
        """Weights, optimizer and the slow copy."""
        return super().state() | {"slow": self.slow.state_dict()}

    def load(self, directory: Path) -> None:
        """Go on from there."""
        self.slow.load_state_dict(self.restore(directory)["slow"])


def _marked(places: Ints, count: int) -> Floats:
    marks = np.zeros(count)
    marks[places] = 1.0
    return marks


def _places(turns: Turns) -> tuple[Place, Place]:
    """Where the twins' Q are read, at the last tokens of turns, and their V, before the first ones."""
    count = len(turns.sampled)
    last, first = _marked(turns.offsets + turns.tokens - 1, count), _marked(turns.offsets, count)
    return Place(last, slice(0, 2), before=False), Place(first, slice(2, 4), before=True)


def _standardised(advantages: Floats) -> Floats:
    return np.asarray((advantages - advantages.mean()) / (advantages.std() + 1e-8))
