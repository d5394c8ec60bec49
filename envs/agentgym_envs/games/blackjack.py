"""``games/Blackjack-v0``: one hand against the dealer."""

import random
from typing import Any

from gymnasium.envs.toy_text.blackjack import BlackjackEnv, deck

from agentgym import Task, Tasks, procedural

from .text import TextGame


class Blackjack(TextGame):
    """Play one hand of blackjack: come closer to 21 than the dealer without going over it.

    A task is a deal; the cards after it are drawn anew in each episode. There is no oracle: no policy always wins. The reward
    is Gymnasium's: 1 for a win, 0 for a draw, -1 for a loss; a draw is not solved, and an answer in text folds for 0.
    """

    game = BlackjackEnv
    actions = ("stick", "hit")
    changing = ("player", "dealer")
    max_turns = 22
    inner: BlackjackEnv

    def __init__(self) -> None:
        super().__init__()

    def tasks(self, split: str = "train") -> Tasks:
        """Endless; deals that look alike to the player belong to the same split."""
        return procedural(self.make_task, split, same=lambda task: (sorted(task.data["player"]), task.data["dealer"][0]))

    def make_task(self, rng: random.Random) -> Task:
        """Two cards each; the dealer's second one stays hidden."""
        hands = {"player": rng.choices(deck, k=2), "dealer": rng.choices(deck, k=2)}
        return Task("Come closer to 21 than the dealer, not over it.", hands)

    def start(self, task: Task) -> Any:
        """The task's deal."""
        self.inner.reset(seed=0)
        self.inner.player, self.inner.dealer = list(task.data["player"]), list(task.data["dealer"])
        return self.inner._get_obs()  # type: ignore[no-untyped-call]

    def describe(self, observation: Any) -> str:
        """The player's sum and the dealer's open card; an ace is 1, or 11 where that is not too much."""
        total, shown, ace = (int(value) for value in observation)
        return f"You have {total}{', with an ace as 11' if ace else ''}. The dealer shows {'an ace' if shown == 1 else shown}."
