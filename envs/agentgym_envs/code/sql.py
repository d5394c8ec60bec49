"""``code/Sql-v0``: answer a question about a SQLite database, or change it; judged by the answer or by the final state."""

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import msgspec

from agentgym import (
    Environment,
    EnvironmentFailure,
    Message,
    Rubric,
    Task,
    Tasks,
    ToolError,
    UserError,
    assistant,
    call,
    levels_of,
    procedural,
    tool,
)
from agentgym.env import Snapshot
from agentgym.tools import to_json

from .database import ROWS, Database
from .questions import LEVELS, Question, convert, make_task
from .rows import tasks_of


class Done(msgspec.Struct):
    """The hidden state.

    Attributes:
        changes: The statements that have changed the database.
        key: Its content's hash.
        asked: How many statements succeeded.
    """

    changes: tuple[str, ...]
    key: str
    asked: int = 0


class Sql(Environment):
    """Query a SQLite database and give the answer with the tool `answer`, or change it as asked and say that it is done.

    Solved means, for a question, that the values given are those expected, as a whole and in any order (numbers as numbers), and
    that nothing was changed; for a change, that the tables end up with exactly the content that they should have, which is not
    the content that they began with. A final answer in words counts as one value.

    Args:
        data: A file or directory in DBBench's format, or an SQLite database for questions of our own; None for small shops.
        level: Of questions of our own: "easy", "medium", "hard"; None mixes all three.

    Raises:
        UserError: an unknown level, or a file that is neither.
    """

    instructions = (
        "Work on the SQLite database with the tool `execute`. To answer a question, call the tool `answer`. "
        "If a change is asked for, make it and then say that it is done."
    )
    max_turns = 12
    rubric = Rubric(solved=1.0, executed=0.0)
    _db: Database | None = None
    start: str = ""

    def __init__(self, data: str | None = None, level: str | None = None) -> None:
        self.data = data
        self.levels = levels_of(level, LEVELS)
        if data is not None and not Path(data).exists():
            raise UserError(f"there is no file {data}: give a database, or DBBench's JSON lines")

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the file, or endless ones of our own."""
        if self.data is not None and (Path(self.data).is_dir() or Path(self.data).suffix in (".jsonl", ".json")):
            return tasks_of(self.data, convert, split)

        return procedural(
            lambda rng: make_task(rng, rng.choice(self.levels), self.data or ""),
            split,
            same=lambda task: (task.prompt, task.data.get("seed", 0)),
        )

    def begin(self, task: Task) -> str:
        """The database as it begins."""
        self.question = msgspec.convert(task.data, Question)
        self.close()
        self.state = None
        self.state = Done((), self.database.key())
        self.start = self.state.key
        tables = "\n".join(f"{name} ({', '.join(columns)})" for name, columns in self.database.tables().items())
        return f"{task.prompt}\n\nTables:\n{tables}"

    @property
    def database(self) -> Database:
        """The database in the current state; made again from its changes after a return to an earlier one."""
        if self._db is None:
            self._db = self.question.open()
            if self.state is not None:
                for statement in self.state.changes:
                    self._db.execute(statement)
                if self._db.key() != self.state.key:
                    raise EnvironmentFailure("a database did not come back as it was")
        return self._db

    # ---- what the agent may do -----------------------------------------------------------------------------------------

    @tool
    def execute(self, sql: str) -> str:
        """Run one SQL statement."""
        try:
            columns, rows = self.database.execute(sql)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            raise ToolError(f"{type(error).__name__}: {error}") from error
        self.state.asked += 1
        key = self.database.key()
        if key != self.state.key:
            self.state.changes, self.state.key = (*self.state.changes, sql), key
        if not columns:
            return "Done."
        shown = [dict(zip(columns, map(_plain, row), strict=False)) for row in rows[:ROWS]]
        return to_json(shown) + (f" (the first {ROWS} rows)" if len(rows) > ROWS else "")

    @tool
    def answer(self, values: list[str]) -> str:
        """Give the answer to the question: each value of it, no other words. This ends the task."""
        self.end(to_json(values))
        return "Given."

    # ---- how it is judged ----------------------------------------------------------------------------------------------

    def score(self, answer: str) -> Mapping[str, float]:
        """The values, or the content of the tables."""
        if self.question.values is None:
            solved = self.state.key != self.start and self.state.key == self._wanted()
        else:
            solved = self.state.key == self.start and _same(_values(answer), self.question.values)
        return {"solved": float(solved), "executed": float(self.state.asked > 0)}

    def _wanted(self) -> str:
        """The content's hash after the right change; that of the beginning where the statement itself is wrong."""
        db, key = self.question.open(), self.start
        with contextlib.suppress(sqlite3.Error):
            db.execute(self.question.gold)
            key = db.key()
        db.close()
        return key

    def oracle(self) -> Message:
        """Run the right statement once, then answer; without one, only answer."""
        if self.question.gold and not self.state.asked:
            return assistant("", call("execute", sql=self.question.gold))
        if self.question.values is None:
            return assistant("It is done.")
        return assistant("", call("answer", values=self.question.values))

    # ---- states --------------------------------------------------------------------------------------------------------

    def copy_state(self, state: Done) -> Done:
        """All in it is immutable."""
        return msgspec.structs.replace(state)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to a state; the database is made again when it is needed."""
        super().restore(snapshot)
        self.close()

    def close(self) -> None:
        """Free the database."""
        if self._db is not None:
            self._db.close()
            self._db = None


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _values(answer: str) -> list[str]:
    """The values of the tool, or the whole text as one."""
    try:
        return msgspec.json.decode(answer, type=list[str])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return [answer]


def _same(given: list[str], expected: list[str]) -> bool:
    return sorted(map(_normal, given)) == sorted(map(_normal, expected))


def _normal(value: str) -> str:
    """Numbers in one way of writing, other values without differences of case and outer spaces."""
    text = " ".join(value.split()).casefold()
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return text
    return f"{number:.6g}" if abs(number) < 1e6 and not number.is_integer() else f"{number:.0f}" if number == number else text
