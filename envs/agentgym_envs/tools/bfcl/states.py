"""The benchmark's state classes for conversations of several turns: file systems, a car, a travel agency ...

The classes come from the package `bfcl-eval`; nothing else of it is used. Calls are method calls with values as arguments: what a
model writes is never run as code.
"""

import ast
import copy
import decimal
import hashlib
import importlib
import inspect
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym import ToolCall, UserError
from agentgym.errors import NotInstalled

from .files import CLASSES

PACKAGE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
_CLOCKS = ("_last_modified",)  # say when something was written; no call shows them


class World:
    """Instances of the classes that a task involves.

    Args:
        instances: By class.

    Attributes:
        instances: By class.
    """

    def __init__(self, instances: dict[str, Any]) -> None:
        self.instances = instances

    @classmethod
    def of(cls, classes: Sequence[str], config: Mapping[str, Any], long_context: bool) -> "World":
        """The classes in the state that `config` says.

        Raises:
            UserError: the package is not installed, or knows no such class.
        """
        made = {}
        for name in classes:
            made[name] = _class(name)()
            if hasattr(made[name], "_load_scenario"):
                made[name]._load_scenario(copy.deepcopy(config.get(name, {})), long_context=long_context)
        return cls(made)

    def method(self, name: str) -> Any:
        """The method of some instance; None when there is none."""
        if name.startswith("_"):
            return None
        return next((m for i in reversed(self.instances.values()) if inspect.ismethod(m := getattr(i, name, None))), None)

    def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        """The result of a call as the benchmark writes it, and whether it went well."""
        with decimal.localcontext():  # some methods set the precision of all decimals
            try:
                result = self.method(name)(**copy.deepcopy(dict(arguments)))
            except Exception as error:  # the classes raise whatever odd arguments make them raise
                return f"Error during execution: {error}", False
        if isinstance(result, str):
            return result, True
        if isinstance(result, dict):
            try:
                return json.dumps(result), "error" not in result
            except TypeError:
                return str(result), True
        return str(result), True

    def public(self) -> dict[str, dict[str, Any]]:
        """A copy of all attributes that the benchmark compares."""
        copied = copy.deepcopy(self.instances)
        return {n: {k: v for k, v in vars(i).items() if not k.startswith("_")} for n, i in copied.items()}

    def equals(self, public: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether all attributes that the benchmark compares are as in another world."""
        return all(getattr(self.instances[n], k) == v for n, attributes in public.items() for k, v in attributes.items())

    def copy(self) -> "World":
        """A world that shares nothing with this one."""
        return World(copy.deepcopy(self.instances))

    def key(self) -> str:
        """A hash of everything in it, hidden attributes too, clocks aside."""
        return hashlib.blake2b(repr(_plain(self.instances, {})).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def gold(self, text: str) -> ToolCall:
        """A published gold call such as ``cd(folder='document')``, read as literals."""
        node = ast.parse(text.strip(), mode="eval").body
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        positional = [ast.literal_eval(a) for a in node.args]
        named = {k.arg or "": ast.literal_eval(k.value) for k in node.keywords}
        bound = inspect.signature(self.method(node.func.id)).bind(*positional, **named)
        return ToolCall(node.func.id, dict(bound.arguments))


def _class(name: str) -> Any:
    if name not in CLASSES:
        raise UserError(f"the class {name} is not known here: there are {', '.join(CLASSES)}")
    try:
        return getattr(importlib.import_module(f"{PACKAGE}.{CLASSES[name]}"), name)
    except ImportError as error:
        remedy = "pip install --no-deps bfcl-eval==2026.3.23, and pip install mpmath"
        raise NotInstalled(f"conversations of several turns need {error.name}: {remedy}") from error


def _plain(value: Any, seen: dict[int, int]) -> Any:
    """A value as nested tuples; an object that was met before is its number."""
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, random.Random):
        return value.getstate()
    if id(value) in seen:
        return ("again", seen[id(value)])
    seen[id(value)] = len(seen)
    if isinstance(value, Mapping):
        return tuple((k, _plain(v, seen)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return tuple(_plain(v, seen) for v in value)
    if isinstance(value, set | frozenset):
        return tuple(sorted(map(repr, value)))
    if not hasattr(value, "__dict__"):
        return repr(value)
    inner = tuple((k, _plain(v, seen)) for k, v in sorted(vars(value).items()) if k not in _CLOCKS)
    return (type(value).__name__, inner)
