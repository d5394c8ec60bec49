"""The list of episodes: filters, order, pages, and a search through what was said.

All but that search reads the index `episodes_listed` alone, never the trees.
"""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from agentgym_trajectories.store import Store

PAGE = 100  # episodes
SECONDS = 0.15  # of searching texts, before what was found is told
EQUAL = ("env", "version", "split", "difficulty", "stop")
RANGES = ("reward", "tokens", "turns", "errors", "seconds")
FIELDS = ("id", "env", "version", "task", "sample", *EQUAL[2:], "success", *RANGES, "created")
NAMED = {
    "mistake": "id IN (SELECT episode FROM mistakes WHERE category = ?)",
    "task": "task LIKE ? ESCAPE '\\'",
    "selection": "id IN (SELECT episode FROM selections WHERE name = ? AND reason = '')",
    "pairs": """id IN (SELECT value FROM (SELECT chosen value, name, dropped FROM pairs UNION ALL
                       SELECT rejected, name, dropped FROM pairs) WHERE name = ? AND dropped = '')""",
}


class WrongFilterError(ValueError):
    """A filter that nobody can apply."""


def conditions(asked: Mapping[str, str]) -> tuple[str, list[Any]]:
    """SQL for the filters of a query, and its parameters.

    Args:
        asked: Any of `EQUAL`; ``success`` (1, 0); ``mistake`` (none, any, or a category); ``task`` (part of its id);
            ``selection`` and ``pairs`` (names); ``tokens_min``, ``tokens_max`` and so on for `RANGES`.

    Raises:
        WrongFilterError: a number is none.
    """
    tests: dict[str, tuple[str, Any]] = {name: (f"{name} = ?", asked[name]) for name in EQUAL if name in asked}
    tests |= {name: (sql, asked[name]) for name, sql in NAMED.items() if asked.get(name)}
    if asked.get("task"):
        tests["task"] = NAMED["task"], _within(asked["task"])
    if asked.get("success"):
        tests["success"] = "success = ?", number("success", asked["success"])
    if asked.get("mistake") in ("none", "any"):
        tests["mistake"] = "(errors > 0) = ?", int(asked["mistake"] == "any")
    for name in RANGES:
        for end, comparison in (("min", ">="), ("max", "<=")):
            if asked.get(f"{name}_{end}"):
                limit = number(f"{name}_{end}", asked[f"{name}_{end}"])
                tests[f"{name}_{end}"] = f"{name} {comparison} ?", limit
    return " AND ".join(sql for sql, _ in tests.values()) or "1", [value for _, value in tests.values()]


def number(name: str, text: str) -> float:
    """A number as it was asked for.

    Raises:
        WrongFilterError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise WrongFilterError(f"{name} is no number: {text!r}")
    return value


def order(asked: Mapping[str, str]) -> str:
    """SQL for the order; the newest first unless something else is asked for."""
    by = asked.get("sort", "")
    column = by if by in (*RANGES, "task", "version") else "id"
    return f"{column} {'ASC' if asked.get('up') else 'DESC'}, id DESC"


def page(store: Store, asked: Mapping[str, str]) -> dict[str, Any]:
    """What the filters leave: how many, how good, and one page of them from ``from`` on, or the page of the episode ``at``.

    Returns:
        ``total``, mean ``success`` and ``reward``, ``tokens`` in all; ``rows``, of which the first is number ``start``, and the
        ``index`` of the episode that was asked for, -1 where the filters leave it out.
    """
    where, values = conditions(asked)
    totals = f"SELECT count(*), avg(success), avg(reward), coalesce(sum(tokens), 0) FROM episodes WHERE {where}"
    total = dict(zip(("total", "success", "reward", "tokens"), store.query(totals, *values)[0], strict=True))
    query = f"SELECT id FROM episodes WHERE {where} ORDER BY {order(asked)}"
    start, index = int(number("from", asked.get("from", "0"))), -1
    if asked.get("at"):
        ids, wanted = [i for (i,) in store.query(query, *values)], int(number("at", asked["at"]))
        index = ids.index(wanted) if wanted in ids else -1
        start = max(index, 0) // PAGE * PAGE
        ids = ids[start : start + PAGE]
    else:
        ids = [i for (i,) in store.query(f"{query} LIMIT {PAGE} OFFSET ?", *values, start)]
    return total | {"rows": rows(store, ids), "start": start, "index": index}


def rows(store: Store, ids: list[int]) -> list[dict[str, Any]]:
    """Lines of the list for these episodes, with the beginning of their task."""
    prompt = "CASE WHEN json_valid(task_json) THEN substr(json_extract(task_json, '$.prompt'), 1, 160) END"
    found = store.query(
        f"SELECT {', '.join(FIELDS)}, {prompt} FROM episodes WHERE id IN (SELECT value FROM json_each(?))", json.dumps(ids)
    )
    known = {row[0]: dict(zip((*FIELDS, "prompt"), row, strict=True)) for row in found}
    return [known[i] for i in ids]


def search(store: Store, asked: Mapping[str, str]) -> dict[str, Any]:
    """Go through what was said in the episodes that the filters leave, for a short while.

    Args:
        store: Where.
        asked: The filters; ``text``, what to look for, whatever its case; ``from``, how many were looked at before.

    Returns:
        ``rows`` found, ``next`` (how many were looked at now) of ``of``.
    """
    where, values = conditions(asked)
    ids = [i for (i,) in store.query(f"SELECT id FROM episodes WHERE {where} ORDER BY {order(asked)}", *values)]
    wanted = _within(json.dumps(asked.get("text", ""), ensure_ascii=False)[1:-1])  # as it stands in JSON
    said = "(nodes LIKE ? ESCAPE '\\' OR task_json LIKE ? ESCAPE '\\')"
    query = f"SELECT id FROM episodes WHERE id IN (SELECT value FROM json_each(?)) AND {said}"
    at, until = int(number("from", asked.get("from", "0"))), time.monotonic() + SECONDS
    found: list[int] = []
    while at < len(ids) and len(found) < PAGE:
        chunk = ids[at : at + 50]
        matching = {i for (i,) in store.query(query, json.dumps(chunk), wanted, wanted)}
        found += [i for i in chunk if i in matching]
        at += len(chunk)
        if time.monotonic() > until:
            break
    return {"rows": rows(store, found), "next": at, "of": len(ids)}


def _within(text: str) -> str:
    """The pattern of `LIKE` for a text anywhere in another, whatever the case of its ASCII letters."""
    for special in "\\%_":
        text = text.replace(special, "\\" + special)
    return f"%{text}%"


def facets(store: Store) -> dict[str, Any]:
    """What there is to filter by, each with its number of episodes."""
    found: dict[str, Any] = {}
    for name in EQUAL:
        found[name] = store.query(f"SELECT {name}, count(*) FROM episodes GROUP BY 1 ORDER BY min(id)")
    found["mistake"] = store.query("SELECT category, count(*) FROM mistakes GROUP BY 1 ORDER BY 2 DESC")
    found["selection"] = store.query("SELECT name, count(DISTINCT episode) FROM selections WHERE reason = '' GROUP BY 1")
    found["pairs"] = store.query("SELECT name, sum(dropped = '') FROM pairs GROUP BY 1")
    found["failures"] = store.query("SELECT kind, count(*) FROM failures GROUP BY 1 ORDER BY 2 DESC")
    return found
