"""Any Gymnasium environment with small discrete spaces as a text environment, in one call.

::

    register("my/Cliff-v0", text_env("CliffWalking-v1", actions=("up", "right", "down", "left"), changing=("s",)))

Observations become messages and the actions one tool, `act`. The reward is the game's own. A game that deserves better words
or an oracle is a subclass of `TextGame`, such as `frozen_lake`, `taxi` and `blackjack` beside this module.

The inner environment is only the machine: before each move it is given the state and the generator, after it the state is
taken back. So a snapshot holds all that changes, chance included, and any instance can go on from it.
"""

import functools
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from agentgym import Environment, EnvironmentFailure, Rubric, Task, Tasks, Tool, ToolError, ToolSet, UserError, procedural
from agentgym.env import Action, StepResult
from agentgym.tools import to_json

from .inner import FIXED, Game, action_names, check_space, game_name, make_game, plain, readable


class TextGame(Environment):
    """A Gymnasium game in words; `text_env` makes subclasses of it.

    Solved means that the game itself ended and that its last reward was a win. A final answer gives up. The tasks are seeds of
    the game's reset; chance after it comes from the episode's own generator, so that one task can be played many times.

    Attributes:
        game: The id of the game in Gymnasium, or what makes one.
        actions: Names of the actions in order; empty to use their numbers.
        changing: Attributes of the inner environment that change while it is played; empty for all that it has. Naming them
            makes snapshots cheap.
        inner: The inner environment, without the wrappers that Gymnasium adds.

    Args:
        arguments: For the game.

    Raises:
        UserError: there is no such game, or its spaces are not discrete and small.
    """

    instructions = "Play the game with the tool. An answer without a call gives up."
    rubric = Rubric(reward=1.0, won=0.0)
    max_turns = 100
    game: Game
    actions: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    _reward: float = 0.0
    _won: bool = False
    _over: bool = False
    _cut: bool = False

    def __init__(self, **arguments: Any) -> None:
        self.inner = make_game(self.game, arguments)
        name = game_name(self.game)
        check_space(name, "observation", self.inner.observation_space)
        self.names = action_names(name, self.inner.action_space, self.actions)

    def tasks(self, split: str = "train") -> Tasks:
        """Endless; half of all seeds are train, a quarter each validation and test."""
        return procedural(self.make_task, split)

    def make_task(self, rng: random.Random) -> Task:
        """A seed; override it where different seeds can be the same task, so that no split shares one with another."""
        return Task(f"Play {game_name(self.game)}.", {"seed": rng.getrandbits(31)})

    def start(self, task: Task) -> Any:
        """Bring the inner environment to the start of `task` and return its first observation."""
        return self.inner.reset(seed=task.data["seed"])[0]

    def describe(self, observation: Any) -> str:
        """An observation in words."""
        return f"Observation: {to_json(readable(observation))}"

    def won(self, reward: float) -> bool:
        """Whether the game's last reward is that of a win."""
        return reward > 0

    def begin(self, task: Task) -> str:
        """The task, and what is to be seen at its start."""
        seen = self.start(task)
        self._keep()
        return f"{task.prompt}\n{self.describe(seen)}"

    def step(self, action: Action) -> StepResult:
        """Take one turn; see `Environment.step`. A game cut off by itself counts as truncated."""
        self._reward, self._won, self._over, self._cut = 0.0, False, False, False
        observation, reward, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            info["success"] = self._won
        return observation, reward, terminated and not self._cut, truncated or self._cut, info

    def play(self, action: str | int) -> str:
        """One move of the game, for the tool."""
        if self._over:
            raise ToolError("the game is over")
        self._load()
        try:
            seen, reward, terminated, truncated, _ = self.inner.step(self.names[action])
        except Exception as error:  # a legal action broke the game: not the agent's doing
            raise EnvironmentFailure(f"{game_name(self.game)}: {type(error).__name__}: {error}") from error
        self._keep()
        self._reward += float(reward)
        if not (terminated or truncated):
            return self.describe(seen)
        self._over, self._cut, self._won = True, not terminated, bool(terminated) and self.won(float(reward))
        self.end()
        return f"{self.describe(seen)}\nThe game is over: {'you won' if self._won else 'you did not win'}."

    def shape(self) -> Mapping[str, float]:
        """The game's own rewards of this turn."""
        return {"reward": self._reward}

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the game was won; recorded beside the reward."""
        return {"won": float(self._won)}

    @functools.cached_property
    def tools(self) -> ToolSet:
        """The one tool, with the names of this game's actions."""
        return ToolSet([_act(tuple(self.names))], self)

    def state_key(self) -> str:
        """A hash of task and state; arrays and plain objects are taken by their content."""
        try:
            encoded = repr((self.task.id, plain(self.state))).encode()
        except (TypeError, ValueError, RecursionError) as error:
            problem = f"the state of {game_name(self.game)} cannot be hashed ({error})"
            raise UserError(f"{problem}: give `changing`, the attributes that change and are plain values") from error
        return hashlib.blake2b(encoded, digest_size=16).hexdigest()

    def _keep(self) -> None:
        own = vars(self.inner)
        self.state = {name: own[name] for name in self._changing()}

    def _load(self) -> None:
        own = vars(self.inner)
        for name in self._changing() - self.state.keys():
            del own[name]  # made in a later state than the one to go on from
        own.update(self.state)
        self.inner.np_random = self.np_random

    def _changing(self) -> set[str]:
        return set(self.changing) or vars(self.inner).keys() - FIXED


def text_env(
    game: Game,
    *,
    actions: Sequence[str] = (),
    describe: Callable[[Any], str] | None = None,
    won: Callable[[float], bool] | None = None,
    changing: Sequence[str] = (),
    **arguments: Any,
) -> type[TextGame]:
    """The class of a text environment, ready for `agentgym.register`.

    Args:
        game: An id in Gymnasium, or a class or function that makes the game.
        actions: Names of its actions in order; without them the agent gives numbers.
        describe: Puts an observation into words; the plain values by default.
        won: Whether the last reward of a game that ended is a win; by default any positive one.
        changing: Attributes of the game that change while it is played; see `TextGame`.
        arguments: For the game.

    Raises:
        UserError: there is no such game, or its spaces are not discrete and small.
    """

    def init(self: TextGame, **more: Any) -> None:
        TextGame.__init__(self, **(arguments | more))

    members: dict[str, Any] = {"game": staticmethod(game) if callable(game) else game, "__init__": init}
    members |= {"actions": tuple(actions), "changing": tuple(changing)}
    members |= {"__doc__": f"Play {game_name(game)} in words.", "__module__": __name__}
    if describe:
        members["describe"] = staticmethod(describe)
    if won:
        members["won"] = staticmethod(won)
    cls: type[TextGame] = type("TextGame", (TextGame,), members)
    made = cls()  # what cannot be put into text is refused here, not at the first episode
    if made.inner.spec and made.inner.spec.max_episode_steps:
        cls.max_turns = made.inner.spec.max_episode_steps
    return cls


@functools.cache
def _act(names: tuple[str | int, ...]) -> Tool:
    def act(self: TextGame, action: Any) -> str:
        """Make one move."""
        return self.play(action)

    act.__annotations__["action"] = Literal.__getitem__(names)
    return Tool(act)
