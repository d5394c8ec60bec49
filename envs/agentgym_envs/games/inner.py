"""The inner environments of text games: made, checked for discrete spaces, and their values written as plain ones."""

import math
from collections import deque
from collections.abc import Callable
from types import FunctionType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from agentgym import UserError

Game = str | Callable[..., gymnasium.Env[Any, Any]]  # an id in Gymnasium, or what makes one
MAX_ACTIONS = 50
MAX_NUMBERS = 256  # in one observation
FIXED = frozenset({"action_space", "observation_space", "spec", "metadata", "render_mode", "_np_random", "_np_random_seed"})
_WRAPPERS = {"_action_space", "_observation_space", "_metadata", "_cached_spec", "_saved_kwargs"}
_WRAPPERS |= {"_previous_data", "checked_data_reuse", "checked_reset", "checked_step", "checked_render"}  # the checker's


def make_game(game: Game, arguments: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """The game: without wrappers where Gymnasium makes it, as it is where a function of the caller does.

    Raises:
        UserError: Gymnasium does not know it, or it does not take these arguments.
    """
    try:
        made = game(**arguments) if callable(game) else gymnasium.make(game, disable_env_checker=True, **arguments)
    except gymnasium.error.Error as error:
        raise UserError(f"Gymnasium cannot make {game_name(game)} ({error}): see gymnasium.pprint_registry()") from error
    except TypeError as error:
        raise UserError(f"{game_name(game)} does not take these arguments ({error}): see its documentation") from error
    return made if callable(game) else made.unwrapped


def game_name(game: Game) -> str:
    """What to call the game in texts."""
    return game if isinstance(game, str) else game.__name__


def check_space(name: str, what: str, space: spaces.Space[Any]) -> None:
    """Refuse with a `UserError` what is not made of few discrete numbers."""
    if isinstance(space, spaces.Tuple | spaces.Dict):
        for inner in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            check_space(name, what, inner)
    elif not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        remedy = "give a function that makes it in a wrapper which rounds"
        raise UserError(f"{name} has the {what} space {space}, which is not discrete: {remedy}")
    elif math.prod(space.shape or ()) > MAX_NUMBERS:
        raise UserError(
            f"{name} has the {what} space {space}, too large for text: give a function that wraps it into {MAX_NUMBERS} numbers"
        )


def action_names(name: str, space: spaces.Space[Any], given: tuple[str, ...]) -> dict[str | int, int]:
    """The game's action by what the agent calls it.

    Raises:
        UserError: the actions are not one `Discrete`, too many, or `given` names another number of them.
    """
    if not isinstance(space, spaces.Discrete):
        raise UserError(f"{name} has the action space {space}, not one Discrete: give a function that wraps it so")
    if space.n > MAX_ACTIONS:
        raise UserError(f"{name} has {space.n} actions, too many for text: give a function that wraps it into {MAX_ACTIONS}")
    numbers = range(int(space.start), int(space.start + space.n))
    if given and len(set(given)) != len(numbers):
        raise UserError(f"{name} has {len(numbers)} actions, {len(set(given))} names were given: give one name for each")
    return dict(zip(given or numbers, numbers, strict=True))


def plain(value: Any) -> Any:
    """`value` as lists, numbers and strings that are equal for equal values; an environment's spaces and generator are left out.

    Raises:
        TypeError: it holds something that has no content of its own, such as a file.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, dict):
        return sorted(([plain(k), plain(v)] for k, v in value.items()), key=repr)
    if isinstance(value, list | tuple | deque):
        return [plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, type | FunctionType | spaces.Space | np.dtype):
        return str(value) if isinstance(value, spaces.Space | np.dtype) else value.__qualname__
    return [type(value).__qualname__, plain({n: v for n, v in vars(value).items() if n not in FIXED | _WRAPPERS})]


def readable(value: Any) -> Any:
    """An observation as JSON can hold it."""
    if isinstance(value, dict):
        return {str(k): readable(v) for k, v in value.items()}
    return [readable(v) for v in value] if isinstance(value, tuple) else plain(value)
