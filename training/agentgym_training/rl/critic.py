"""Critics: networks that say what a state, or an action in it, is worth. For PPO and ArCHer.

A critic is a copy of the first policy's transformer with small heads, (m, H) numbers of m chosen positions. The value of a state
is read at the last token before the action, the value of an action at its own last token; one pass over an episode gives both for
all its turns. Advantages are standardised over the batch before the policy learns from them.
"""

import copy
import random
from collections.abc import Iterator, Sequence
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
from .config import RL
from .credit import Floats
from .methods import Archer, Ppo
from .turns import Turns

FILE = "critic.pt"
CLIP_NORM = 1.0


class Critic(Protocol):
    """Gives credit, and learns from what it gave it for."""

    def judge(self, examples: Sequence[Example], turns: Turns, number: int) -> tuple[Floats, dict[str, float]]:
        """The advantage of each trained token, (M,), and what was measured on the way.

        Args:
            examples: The sequences of a batch.
            turns: Its turns.
            number: Of the update; all that is drawn follows from it.
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

    def before(self, net: Any, examples: Sequence[Example], wanted: Floats, column: slice, *, shift: int = 1) -> Floats:
        """What `net` gives one position before each wanted token, (columns, M), 0 elsewhere; with a shift of 0, at the token."""
        found = np.zeros((column.stop - column.start, len(wanted)))
        with torch.no_grad(), self.accelerator.autocast():
            for micro in self.packed(examples):
                mine = torch.from_numpy(wanted).to(micro.token.device)[micro.token] > 0
                given = net(micro, (micro.before if shift else micro.at)[mine])[:, column]
                found[:, micro.token[mine].cpu().numpy()] = given.T.double().cpu().numpy()
        return found

    def learn(self, examples: Sequence[Example], goals: Sequence[tuple[Floats, Floats, slice, int]]) -> float:
        """One step on squared errors. Returns their mean.

        Args:
            examples: Sequences.
            goals: Of each: (M,) which tokens have one, (columns, M) targets, the columns, and 1 to look one token before, else 0.
        """
        device, total = self.accelerator.device, 0.0
        chosen = np.concatenate([e.token for e in examples])
        count = sum(float(wanted[chosen].sum()) for wanted, *_ in goals)
        for micro in self.packed(examples):
            places = [torch.from_numpy(wanted).to(device)[micro.token] > 0 for wanted, *_ in goals]
            at = [(micro.before if shift else micro.at)[p] for p, (*_, shift) in zip(places, goals, strict=True)]
            with self.accelerator.autocast():
                given = self.net(micro, torch.cat(at)).split([int(p.sum()) for p in places])
            loss = torch.zeros((), device=device)
            for p, values, (_, targets, column, _) in zip(places, given, goals, strict=True):
                target = torch.from_numpy(targets[:, micro.token[p].cpu().numpy()].T).float().to(device)
                loss = loss + (values[:, column] - target).square().mean(1).sum() / count
            self.accelerator.backward(loss)
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total


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

    def judge(self, examples: Sequence[Example], turns: Turns, number: int) -> tuple[Floats, dict[str, float]]:
        """GAE with the values as they are; then learn the targets."""
        how, count = self.how, len(turns.sampled)
        one = slice(0, 1)
        wanted = np.ones(count) if how.tokens else _marked(turns.offsets, count)
        values = self.before(self.net, examples, wanted, one)[0]
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
                losses.append(self.learn(drawn[start : start + how.size], [(wanted, targets[None], one, 1)]))
        spread = float(np.var(targets[wanted > 0]))
        explained = 1 - float(np.var((targets - values)[wanted > 0])) / spread if spread else 0.0
        return _standardised(advantages), {"critic_loss": losses[-1], "critic_explained": explained}

    def load(self, directory: Path) -> None:
        """Go on from there."""
        self.restore(directory)


class TwinCritic(_Trained):
    """ArCHer's critic (arXiv:2402.19446): two Q and two V over utterances, learnt off-policy from the last batches.

    Q_i(s, a) is drawn to r + gamma V'_i(s') and V_i(s) to Q'_i(s, a); the primed ones are a slow copy of the network (Polyak).

    Departures: V is learnt on the actions in the buffer and the policy on those of the batch, where the authors' code samples new
    actions for both. The buffer is short, so its actions are nearly the policy's own, and no tokens are sampled for the critic.

    Args:
        how: Its numbers.
        model_dir: Of the first policy.
        config: Of the training.
        accelerator: Of the training.
    """

    Q, V = slice(0, 2), slice(2, 4)

    def __init__(self, how: Archer, model_dir: Path, config: RL, accelerator: Accelerator) -> None:
        super().__init__(how, 4, model_dir, config, accelerator)
        self.how, self.slow = how, copy.deepcopy(self.net).requires_grad_(False)
        self.buffer: list[tuple[list[Example], Turns]] = []

    def judge(self, examples: Sequence[Example], turns: Turns, number: int) -> tuple[Floats, dict[str, float]]:
        """Learn from the buffer, this batch included; then min Q - min V of this batch."""
        self.buffer = [*self.buffer, (list(examples), turns)][-self.how.buffer :]
        rng = random.Random(f"{self.config.seed}/{number}/critic")
        losses = [self._step(*rng.choice(self.buffer), rng) for _ in range(self.how.steps)]
        first, last = _places(turns)
        q = self.before(self.net, examples, last, self.Q, shift=0)[:, turns.offsets + turns.tokens - 1]
        v = self.before(self.net, examples, first, self.V)[:, turns.offsets]
        advantages = turns.per_token(credit.twin(q, v))
        return _standardised(advantages), {"critic_loss": float(np.mean(losses[-10:])), "critic_value": float(v.mean())}

    def _step(self, examples: list[Example], turns: Turns, rng: random.Random) -> float:
        """Learn from some episodes of a batch."""
        episodes = sorted({e.episode for e in examples})
        mine = set(rng.sample(episodes, min(self.how.size, len(episodes))))
        chosen = [e for e in examples if e.episode in mine]
        first, last = _places(turns)
        value = self.before(self.slow, chosen, first, self.V)[:, turns.offsets]
        action = self.before(self.slow, chosen, last, self.Q, shift=0)[:, turns.offsets + turns.tokens - 1]
        ahead = np.stack([credit.next_mean(v, turns.parent) for v in value])
        goal = turns.reward + self.how.gamma * ahead  # (2, T)
        goals = [(last, np.repeat(goal, turns.tokens, 1), self.Q, 0), (first, np.repeat(action, turns.tokens, 1), self.V, 1)]
        loss = self.learn(chosen, goals)
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(fast, self.how.tau)
        return loss

    def state(self) -> dict[str, Any]:
        """Weights, optimizer, the slow copy and the buffer."""
        return super().state() | {"slow": self.slow.state_dict(), "buffer": self.buffer}

    def load(self, directory: Path) -> None:
        """Go on from there."""
        state = self.restore(directory)
        self.slow.load_state_dict(state["slow"])
        self.buffer = state["buffer"]


def _marked(places: credit.Ints, count: int) -> Floats:
    marks = np.zeros(count)
    marks[places] = 1.0
    return marks


def _places(turns: Turns) -> tuple[Floats, Floats]:
    """Which tokens are the first, and which the last, of their turns; (M,) each."""
    count = len(turns.sampled)
    return _marked(turns.offsets, count), _marked(turns.offsets + turns.tokens - 1, count)


def _standardised(advantages: Floats) -> Floats:
    return np.asarray((advantages - advantages.mean()) / (advantages.std() + 1e-8))
