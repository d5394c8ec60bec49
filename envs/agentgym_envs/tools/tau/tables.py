"""A published database, and the rows of it that an episode has changed.

A database has megabytes and an episode changes three rows of it: all episodes share one base that nobody changes, and a state is
the rows that were. Copying, comparing and hashing a state cost as much as those rows.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Row = dict[str, Any]
Base = Mapping[str, Mapping[str, Row]]  # tables by name, rows by key


class Tables:
    """Tables of rows.

    Args:
        base: The rows at the beginning, shared and never changed.
        changed: The rows that are not as in `base`, by table and key; changed in place.
    """

    def __init__(self, base: Base, changed: dict[str, dict[str, Row]] | None = None) -> None:
        self.base = base
        self.changed = {} if changed is None else changed

    def get(self, table: str, key: str) -> Row | None:
        """A row to be read, not to be changed."""
        own = self.changed.get(table, {}).get(key)
        return own if own is not None else self.base.get(table, {}).get(key)

    def rows(self, table: str) -> Iterator[tuple[str, Row]]:
        """All rows with their keys, in the order of the base, new ones last; to be read."""
        own, base = self.changed.get(table, {}), self.base.get(table, {})
        for key, row in base.items():
            yield key, own.get(key, row)
        yield from ((key, row) for key, row in own.items() if key not in base)

    def edit(self, table: str, key: str) -> Row:
        """A row to be changed: this episode's own copy of it.

        Raises:
            KeyError: there is none.
        """
        own = self.changed.setdefault(table, {})
        if key not in own:
            own[key] = copy.deepcopy(self.base[table][key])
        return own[key]

    def put(self, table: str, key: str, row: Row) -> None:
        """Add or replace a row."""
        self.changed.setdefault(table, {})[key] = row

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return sum(1 for _ in self.rows(table))

    def difference(self) -> dict[str, dict[str, Row]]:
        """The rows that really differ from the base, without fields that are None: two databases are equal when these are."""
        found = {}
        for table, own in self.changed.items():
            base = self.base.get(table, {})
            rows = {k: filled(row) for k, row in own.items() if k not in base or filled(row) != filled(base[k])}
            if rows:
                found[table] = rows
        return found


def filled(row: Any) -> Any:
    """A value without the fields of its objects that are None: published models write them, published files do not."""
    if isinstance(row, dict):
        return {k: filled(v) for k, v in row.items() if v is not None}
    return [filled(v) for v in row] if isinstance(row, list) else row


def merged(row: Any, update: Any) -> Any:
    """`row` with the fields of `update` put into it, objects within objects too; lists are replaced."""
    if isinstance(row, Mapping) and isinstance(update, Mapping):
        return {**row, **{k: merged(row.get(k), v) for k, v in update.items()}}
    return copy.deepcopy(update)
