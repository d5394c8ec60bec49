"""Environments by name: Gymnasium's own registry, filled by us, by third parties' entry points and by `register`.

A distribution announces its environments with an entry point of the group ``agentgym.environments`` whose value is a
function that calls `register` (strings only, so that listing a hundred environments imports none of them)::

    [project.entry-points."agentgym.environments"]
    shop = "my_shop:register_environments"
"""

import difflib
import inspect
import warnings
from importlib.metadata import entry_points
from typing import Any, cast

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from agentgym.env import Environment
from agentgym.errors import UserError

GROUP = "agentgym.environments"
_specs: dict[str, EnvSpec] = {}
_loaded = False
_NOT_LISTED = (
    "see `agentgym env list`; environments of your own are found by the command line once their package is installed "
    "(`agentgym env new`)"
)


def register(env_id: str, entry_point: Any, **kwargs: Any) -> None:
    """Register an environment under an id such as ``shop/Search-v0``; `gymnasium.make` knows it from then on.

    Args:
        env_id: ``namespace/Name-vN``.
        entry_point: ``"package.module:Class"`` (imported when first made) or the class itself.
        kwargs: Arguments for the class.

    Raises:
        UserError: the id is malformed.
    """
    if env_id in _specs:
        gymnasium.registry.pop(env_id)  # a notebook's cell run again; Gymnasium would warn
    try:
        # Our own check_env replaces Gymnasium's passive checker, and step() itself demands a reset.
        gymnasium.register(env_id, entry_point, kwargs=kwargs, disable_env_checker=True, order_enforce=False)
    except gymnasium.error.Error as error:
        raise UserError(f"{env_id!r} is no environment id ({error}): use namespace/Name-v0") from error
    _specs[env_id] = gymnasium.registry[env_id]


def specs() -> dict[str, EnvSpec]:
    """All registered environments by id, entry points included, in alphabetical order."""
    _load_entry_points()
    return dict(sorted(_specs.items()))


def needs(env_id: str) -> list[str]:
    """The arguments without which this environment cannot be made; none where it cannot even be imported."""
    spec = specs()[env_id]
    try:
        return _required(spec, _creator(spec))
    except ImportError:
        return []


def _creator(spec: EnvSpec) -> Any:
    """What makes the environment; raises an ImportError where that cannot be imported."""
    return load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point


def _required(spec: EnvSpec, creator: Any) -> list[str]:
    """The arguments that have no value by default, nor by registration."""
    parameters = inspect.signature(creator).parameters.values()
    named = (p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return [p.name for p in named if p.default is p.empty and p.name not in spec.kwargs]


def make(env_id: str, **kwargs: Any) -> Environment:
    """Make an environment, unwrapped.

    Raises:
        UserError: no such environment, arguments that are missing or that it does not take, or something that it needs is not
            installed.
    """
    if env_id not in specs():
        near = difflib.get_close_matches(env_id, _specs, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else _NOT_LISTED
        raise UserError(f"there is no environment {env_id!r}: {hint}")
    spec = _specs[env_id]
    try:
        creator = _creator(spec)
    except ImportError as error:
        raise UserError(f"{env_id} cannot be imported ({error}): install what it needs") from error
    if wanted := [name for name in _required(spec, creator) if name not in kwargs]:
        raise UserError(f"{env_id} needs {', '.join(wanted)}: give each to make(), or as --env-arg NAME=VALUE")
    refused = "{} does not take these arguments ({}): see `agentgym env show {}`"
    try:
        inspect.signature(creator).bind(**{**spec.kwargs, **kwargs})
    except TypeError as error:
        raise UserError(refused.format(env_id, error, env_id)) from error
    try:
        return cast(Environment, gymnasium.make(env_id, **kwargs).unwrapped)
    except TypeError as error:
        if not kwargs:  # a bug of the environment
            raise
        raise UserError(refused.format(env_id, error, env_id)) from error  # a class that passes them on to one that does not


def _load_entry_points() -> None:
    global _loaded
    if _loaded:
        return
    _loaded = True
    for point in entry_points(group=GROUP):
        try:
            point.load()()
        except Exception as error:  # somebody else's broken package must not take ours down, nor go unnoticed
            warnings.warn(f"environments of {point.value} are missing: {type(error).__name__}: {error}", stacklevel=2)
