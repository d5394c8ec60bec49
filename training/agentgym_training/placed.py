"""YAML whose values know where they were written, so that errors can say so: a line of the file, or a ``--set``."""

from typing import Any

import yaml

from agentgym import UserError


class Placed(dict[str, Any]):
    """A mapping.

    Attributes:
        places: Of each key, where it was written.
        place: Where the mapping begins.
    """

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place, self.places = place, dict[str, str]()

    def put(self, key: str, value: Any, place: str) -> None:
        """Set a value."""
        self[key], self.places[key] = value, place


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is untyped here
    """Makes `Placed` of mappings."""


def _mapping(loader: _Loader, node: Any) -> Placed:
    made = Placed(f"line {node.start_mark.line + 1}")
    for key_node, value in node.value:
        key, place = loader.construct_object(key_node, deep=True), f"line {key_node.start_mark.line + 1}"
        if key in made:
            raise UserError(f"{place}: {key!r} stands there a second time, first in {made.places[key]}")
        made.put(key, loader.construct_object(value, deep=True), place)
    return made


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(text: str) -> Any:
    """The values of a YAML text.

    Raises:
        UserError: it is no YAML, or a key stands there twice.
    """
    try:
        return yaml.load(text, _Loader)  # a safe loader
    except yaml.YAMLError as error:
        raise UserError(f"this is no YAML ({' '.join(str(error).split())}): mend it") from error


def place_of(data: Any, keys: tuple[Any, ...]) -> str:
    """Where the value under these keys was written, or the nearest around it; keys that lead nowhere are passed over."""
    place = data.place if isinstance(data, Placed) else "line 1"
    for key in keys:
        if isinstance(data, Placed) and key in data:
            place, data = data.places[key], data[key]
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
            place = data.place if isinstance(data, Placed) else place
    return place
