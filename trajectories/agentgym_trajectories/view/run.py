"""The stores of a run: of a collection the one, of a loop that of each round, of a reinforcement learning its roll-outs."""

import re
from pathlib import Path
from typing import Any

from agentgym_trajectories.store import FILE, Store

from .tokens import Spelling


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts ``round-2`` before ``round-10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


class Run:
    """A run that is looked at, maybe while it is being made.

    Args:
        path: Its directory, or the file of a store.
        tokenizer: Model directory or file whose tokenizer spells its tokens; None to look in the run and beside it.

    Raises:
        UserError: it holds no episodes.
    """

    def __init__(self, path: Path, tokenizer: Path | None = None) -> None:
        self.path, self.name = path, path.resolve().name
        self.spelling = Spelling(path, tokenizer)
        self._stores: dict[Path, Store] = {}
        if not self.parts():
            Store(path)  # says what is wrong

    def parts(self) -> list[tuple[str, Store]]:
        """The stores with their names, in their natural order; one that has just been begun is found too."""
        single = self.path.suffix == ".db"
        files = [self.path] if single else [f for depth in ("", "*/", "*/*/") for f in self.path.glob(depth + FILE)]
        for file in filter(Path.is_file, files):
            if file not in self._stores:
                self._stores[file] = Store(file, lenient=True)
        folders = {file: "." if single else str(file.parent.relative_to(self.path)) for file in self._stores}
        ordered = sorted(self._stores, key=lambda file: natural(folders[file]))
        return [(self.name if folders[file] == "." else folders[file], self._stores[file]) for file in ordered]

    def part(self, number: int) -> Store:
        """One of the stores.

        Raises:
            LookupError: there is none of this number.
        """
        return self.parts()[number][1]

    def close(self) -> None:
        """Close all stores."""
        for store in self._stores.values():
            store.close()


def overview(run: Run, live: bool) -> dict[str, Any]:
    """What the page has to know first; `mark` changes whenever anything is written."""
    parts = []
    for name, store in run.parts():
        ((newest,),) = store.query("SELECT coalesce(max(id), 0) FROM episodes")
        ((mark,),) = store.query("PRAGMA data_version")
        parts.append({"name": name, "newest": newest, "mark": mark})
    return {"name": run.name, "live": live, "parts": parts}
