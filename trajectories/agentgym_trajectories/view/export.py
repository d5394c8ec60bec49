"""The page as files to share: its own scripts, and the data as scripts too: opened from a disk, it may load nothing else."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agentgym import UserError
from agentgym_trajectories.store import Store

from . import content, listing
from .run import Run, overview
from .server import PAGE, POLICY, SCRIPTS

# Opened from a disk, "self" is nobody: `file:` is these files.
ALLOWED = POLICY.format(kinds="script-src 'self' file:; style-src 'self' file:")


def write(run: Run, to: Path, most: int, selection: str | None = None) -> int:
    """Write the page and its data; it appears under its name only when it is complete.

    Args:
        run: What to show.
        to: A directory that is not there yet.
        most: Episodes of each part, the newest.
        selection: Only episodes of which this selection kept something; None for all.

    Returns:
        How many episodes were written.

    Raises:
        UserError: `to` exists, or nothing is to be written.
    """
    if to.exists():
        raise UserError(f"{to} exists already: choose another path or remove it")
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    partial.mkdir(parents=True)
    try:
        _page(partial)
        _put(partial, "run", overview(run, live=False))
        counts = [_part(run, partial, number, store, most, selection) for number, (_, store) in enumerate(run.parts())]
        if not sum(counts):
            raise UserError("there is nothing to export: no episode is left")
        partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sum(counts)


def _page(to: Path) -> None:
    (to / "page").mkdir()
    for name in ("style.css", *SCRIPTS):
        (to / "page" / name).write_bytes((PAGE / name).read_bytes())
    policy = f'<meta http-equiv="Content-Security-Policy" content="{ALLOWED}">'
    html = (PAGE / "index.html").read_text("utf-8").replace("<html ", '<html data-exported="yes" ', 1)
    (to / "index.html").write_text(html.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}', 1), "utf-8")


def _part(run: Run, to: Path, number: int, store: Store, most: int, selection: str | None) -> int:
    where, values = listing.conditions({"selection": selection} if selection else {})
    ids = [i for (i,) in store.query(f"SELECT id FROM episodes WHERE {where} ORDER BY id DESC LIMIT ?", *values, most)]
    _put(to, f"{number}/facets", listing.facets(store))
    _put(to, f"{number}/list", {"rows": list(_tagged(store, listing.rows(store, ids)))})
    for row in ids:
        outline = content.outline(store, row)
        _put(to, f"{number}/episode/{row}", outline)
        if "broken" not in outline:
            _put(to, f"{number}/nodes/{row}", content.turns(store, row, None, None))
            _put(to, f"{number}/tokens/{row}", content.tokens(store, run.spelling, row))
    return len(ids)


def _tagged(store: Store, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """With all that the page filters by, since nobody else does it there."""
    kept = "SELECT DISTINCT name FROM selections WHERE episode = ? AND reason = ''"
    paired = "SELECT DISTINCT name FROM pairs WHERE (chosen = ?1 OR rejected = ?1) AND dropped = ''"
    for row in rows:
        tags = {"mistakes": "SELECT category FROM mistakes WHERE episode = ?", "selections": kept, "pairs": paired}
        yield row | {tag: [name for (name,) in store.query(query, row["id"])] for tag, query in tags.items()}


def _put(to: Path, address: str, value: Any) -> None:
    """One value as a script; JSON is JavaScript, and `msgspec` writes no NaN."""
    file = to / "data" / f"{address}.js"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"ag.put(" + msgspec.json.encode(address) + b", " + msgspec.json.encode(value) + b");\n")
