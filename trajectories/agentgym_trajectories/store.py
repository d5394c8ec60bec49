"""One SQLite file for each run: crash-safe, resumable, queryable, with many writers.

An episode is one row: its key (environment, arguments, task, sample, policy version; unique, so that finishing twice is
impossible), columns to search by, and its tree as JSON, which SQLite's own JSON functions can read. A row is four times
cheaper to write than a row for each node. Failures stand apart from results, with all their attempts.

Durability: write-ahead log with synchronous=NORMAL. What was flushed survives the death of the process at any point; a loss
of power may cost the last moments, never the file.
"""

import functools
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from agentgym import EnvironmentFailure, Failure, Task, UserError
from agentgym_trajectories.pairs import Pair
from agentgym_trajectories.tree import Episode, Node, Trajectory

FILE = "episodes.db"
SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE toolsets (id INTEGER PRIMARY KEY, schemas TEXT NOT NULL UNIQUE);
CREATE TABLE episodes (
    id INTEGER PRIMARY KEY,
    env TEXT NOT NULL, env_args TEXT NOT NULL, task TEXT NOT NULL, sample INTEGER NOT NULL, version TEXT NOT NULL,
    split TEXT NOT NULL, difficulty TEXT NOT NULL,
    success INTEGER NOT NULL, reward REAL NOT NULL, stop TEXT NOT NULL,
    turns INTEGER NOT NULL, tokens INTEGER NOT NULL, errors INTEGER NOT NULL, drift INTEGER NOT NULL,
    seconds REAL NOT NULL, created REAL NOT NULL,
    vocabulary TEXT NOT NULL, toolset INTEGER NOT NULL REFERENCES toolsets, task_json TEXT NOT NULL, nodes TEXT NOT NULL,
    UNIQUE (env, env_args, version, task, sample)
);
CREATE TABLE failures (
    id INTEGER PRIMARY KEY,
    env TEXT NOT NULL, env_args TEXT NOT NULL, task TEXT NOT NULL, sample INTEGER NOT NULL, version TEXT NOT NULL,
    attempt INTEGER NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL, created REAL NOT NULL
);
CREATE TABLE selections (
    name TEXT NOT NULL, episode INTEGER NOT NULL REFERENCES episodes, leaf INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (name, episode, leaf)
) WITHOUT ROWID;
CREATE TABLE settings (
    env TEXT NOT NULL, env_args TEXT NOT NULL, version TEXT NOT NULL, settings TEXT NOT NULL,
    PRIMARY KEY (env, env_args, version)
) WITHOUT ROWID;
"""
_SCHEMA_2 = """
CREATE TABLE pairs (
    name TEXT NOT NULL, number INTEGER NOT NULL,
    chosen INTEGER NOT NULL REFERENCES episodes, chosen_leaf INTEGER NOT NULL,
    rejected INTEGER NOT NULL REFERENCES episodes, rejected_leaf INTEGER NOT NULL,
    first INTEGER NOT NULL, margin REAL NOT NULL, confidence REAL NOT NULL,
    method TEXT NOT NULL, reason TEXT NOT NULL, dropped TEXT NOT NULL,
    PRIMARY KEY (name, number)
) WITHOUT ROWID;
"""
# What nobody judged has neither success nor reward; SQLite's documentation takes constraints away like this, table untouched.
_SCHEMA_3 = """
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(replace(
    sql, 'success INTEGER NOT NULL', 'success INTEGER'), 'reward REAL NOT NULL', 'reward REAL') WHERE name = 'episodes';
PRAGMA writable_schema = RESET
"""
# What lists and reports ask for lies together, apart from the trees: 50,000 episodes are filtered in milliseconds.
_SCHEMA_4 = """
CREATE INDEX episodes_listed ON episodes (
    env, version, task, sample, split, difficulty, success, reward, stop, turns, tokens, errors, seconds, created);
CREATE TABLE mistakes (
    category TEXT NOT NULL, episode INTEGER NOT NULL REFERENCES episodes, count INTEGER NOT NULL,
    PRIMARY KEY (category, episode)
) WITHOUT ROWID;
INSERT INTO mistakes
    SELECT mistake.value, e.id, count(*) FROM episodes e
    JOIN json_each(CASE WHEN json_valid(e.nodes) THEN e.nodes ELSE '[]' END) node
    JOIN json_each(node.value, '$.errors') mistake WHERE e.errors > 0 GROUP BY 1, 2
"""
_INSERT = f"INSERT INTO episodes VALUES (NULL{', ?' * 20}) ON CONFLICT DO NOTHING"
_POLICY = "env = ? AND env_args = ? AND version = ?"  # one policy in one environment
_ANYTHING = "SELECT EXISTS (SELECT 1 FROM episodes) OR EXISTS (SELECT 1 FROM failures)"
_BUFFER = 256  # episodes; more are written at once
_nodes_decoder = msgspec.json.Decoder(list[Node])
_task_decoder = msgspec.json.Decoder(Task)
_encode = msgspec.json.Encoder().encode


class Store:
    """The episodes of a run.

    Args:
        path: The run's directory (the file in it is called `FILE`) or the file itself.
        create: Make it if it is not there.
        lenient: Read text that is no UTF-8 with replacement characters: for looking at what is damaged, never for training.

    Raises:
        UserError: there is no store, it is no store, it cannot be made there, or it was written by a newer version.
    """

    def __init__(self, path: Path | str, *, create: bool = False, lenient: bool = False) -> None:
        path = Path(path)
        if path.is_file() and path.suffix != ".db":
            raise UserError(f"{path} is a file: give the directory of a run")
        self.path = path if path.suffix == ".db" else path / FILE
        if not create and not self.path.is_file():
            raise UserError(f"there are no episodes at {path}: collect some with `agentgym collect --out {path}`")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be made ({error.strerror}): mend that, or choose another path") from error
        self._new = not self.path.exists()
        self._buffer: list[tuple[tuple[Any, ...], Counter[str]]] = []  # rows, and the agent's mistakes
        self._toolsets: dict[int, tuple[object, int]] = {}
        try:
            self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise UserError(f"{self.path} cannot be opened ({error}): choose another path, or mend the permissions") from error
        if lenient:
            self._db.text_factory = functools.partial(str, encoding="utf-8", errors="replace")
        try:
            self._write_ahead()
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._migrate()
        except sqlite3.OperationalError as error:
            self._db.close()
            raise UserError(f"{self.path} cannot be opened for writing ({error}): mend that, or choose another path") from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise UserError(f"{self.path} is no store of episodes ({error}): choose another path") from error

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it; where an error ended it, a new store that holds nothing yet goes again."""
        abandoned = error is not None and self._new and not self._buffer and self._holds_nothing()
        self.close()
        if abandoned:
            for file in self.path.parent.glob(f"{self.path.name}*"):
                file.unlink()
            with suppress(OSError):  # something else is there
                self.path.parent.rmdir()

    def close(self) -> None:
        """Write what is buffered and close the file."""
        try:
            self.flush()
        finally:
            self._db.close()

    # ---- writing -------------------------------------------------------------------------------------------------------

    def add(self, episode: Episode) -> None:
        """Keep a finished episode; it is on disk after the next `flush`. One that is there already is ignored.

        Raises:
            EnvironmentFailure: the environment said something that cannot be encoded.
        """
        try:
            row = self._row(episode)
        except (TypeError, ValueError) as error:
            raise EnvironmentFailure(f"what it said cannot be stored: {error}") from error
        self._buffer.append((row, Counter(str(e) for n in episode.nodes for e in n.errors)))
        if len(self._buffer) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write all buffered episodes in one transaction.

        Raises:
            UserError: the file cannot be written; what was buffered is still buffered.
        """
        if self._buffer:
            with self._transaction():
                for row, mistakes in self._buffer:
                    added = self._db.execute(_INSERT, row)
                    if mistakes and added.rowcount:
                        rows = [(category, added.lastrowid, count) for category, count in mistakes.items()]
                        self._db.executemany("INSERT INTO mistakes VALUES (?, ?, ?)", rows)
            self._buffer.clear()

    def add_failure(self, episode: Episode, attempt: int, failure: Failure) -> None:
        """Keep the record of an attempt that failed through nobody's action."""
        row = (*_key(episode), attempt, type(failure).__name__, str(failure), time.time())
        with self._transaction():
            self._db.execute(f"INSERT INTO failures VALUES (NULL{', ?' * 9})", row)

    def hold_settings(self, env: str, env_args: dict[str, Any], version: str, settings: dict[str, Any]) -> None:
        """Remember how these episodes are played; what is resumed has to be played the same way.

        Raises:
            UserError: they were played in another way before.
        """
        wanted = msgspec.json.encode(settings, order="deterministic").decode()
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?, ?, ?)", (env, _args(env_args), version, wanted))
        ((found,),) = self.query(f"SELECT settings FROM settings WHERE {_POLICY}", env, _args(env_args), version)
        if found != wanted:
            raise UserError(f"{self.path} holds episodes played with {found}: give these settings again, or another --out")

    def add_selection(self, name: str, verdicts: Iterable[tuple[Trajectory, str]]) -> None:
        """Replace the selection `name`: for each trajectory the reason why it was dropped, empty if it was kept."""
        rows = [(name, t.episode.id, t.leaf.id, reason) for t, reason in verdicts]  # read first, then write
        with self._transaction():
            self._db.execute("DELETE FROM selections WHERE name = ?", (name,))
            self._db.executemany("INSERT INTO selections VALUES (?, ?, ?, ?)", rows)

    def add_pairs(self, name: str, verdicts: Iterable[tuple[Pair, str]]) -> None:
        """Replace the pairs `name`: each with the reason why it was dropped, empty if it was kept."""
        rows = []
        for number, (pair, dropped) in enumerate(verdicts):
            sides = (key for t in (pair.chosen, pair.rejected) for key in (t.episode.id, t.leaf.id))
            rows.append((name, number, *sides, pair.first, pair.margin, pair.confidence, pair.method, pair.reason, dropped))
        with self._transaction():
            self._db.execute("DELETE FROM pairs WHERE name = ?", (name,))
            self._db.executemany(f"INSERT INTO pairs VALUES ({', '.join('?' * 12)})", rows)

    # ---- reading -------------------------------------------------------------------------------------------------------

    def finished(self, env: str, env_args: dict[str, Any], version: str) -> set[tuple[str, int]]:
        """Task ids and sample indices that need not be played again."""
        self.flush()
        where = (env, _args(env_args), version)
        query = f"SELECT task, sample FROM episodes WHERE {_POLICY}"
        return set(self._db.execute(query, where))

    def failed_attempts(self, env: str, env_args: dict[str, Any], version: str) -> dict[tuple[str, int], int]:
        """How often each task and sample failed so far."""
        query = f"SELECT task, sample, count(*) FROM failures WHERE {_POLICY} GROUP BY task, sample"
        return {(task, sample): n for task, sample, n in self._db.execute(query, (env, _args(env_args), version))}

    def commonest_failure(self, env: str, env_args: dict[str, Any], version: str) -> str:
        """Why most attempts failed, in one line; empty where none did."""
        query = f"SELECT kind, message FROM failures WHERE {_POLICY} GROUP BY 1, 2 ORDER BY count(*) DESC, max(id) DESC LIMIT 1"
        return " ".join(f"{kind}: {message}" for kind, message in self.query(query, env, _args(env_args), version))

    def others(self, env: str, version: str) -> list[tuple[Any, ...]]:
        """How many episodes there are of each other environment and policy, with their names; the most first."""
        query = """SELECT count(*) n, env, version FROM episodes WHERE (env, version) <> (?, ?)
                   GROUP BY env, version ORDER BY n DESC, env, version"""
        return self.query(query, env, version)

    def missing(self, env: str, env_args: dict[str, Any], version: str) -> dict[str, set[int]]:
        """The partial groups: for each task, the sample indices that failed or came too late and have no episode."""
        query = f"""SELECT DISTINCT task, sample FROM failures f WHERE {_POLICY} AND NOT EXISTS (
                    SELECT 1 FROM episodes e WHERE (e.env, e.env_args, e.version, e.task, e.sample) =
                                                   (f.env, f.env_args, f.version, f.task, f.sample))"""
        groups: dict[str, set[int]] = {}
        for task, sample in self.query(query, env, _args(env_args), version):
            groups.setdefault(task, set()).add(sample)
        return groups

    def episodes(self, env: str | None = None, env_args: dict[str, Any] | None = None, version: str = "") -> Iterator[Episode]:
        """All episodes, in the order of their end; with `env`, only those of this environment, its arguments and this policy."""
        self.flush()
        if env is None:
            return self._read()
        return self._read(f"WHERE {_POLICY}", env, _args(env_args or {}), version)

    def episode(self, row_id: int) -> Episode:
        """The episode of this row."""
        return next(self._read("WHERE e.id = ?", row_id))

    def _read(self, where: str = "", *parameters: Any) -> Iterator[Episode]:
        query = f"""SELECT e.id, env, task_json, sample, version, env_args, vocabulary, schemas, nodes, drift, seconds
                    FROM episodes e JOIN toolsets t ON t.id = e.toolset {where} ORDER BY e.id"""
        found = self._db.execute(query, parameters)
        tools: dict[str, tuple[dict[str, Any], ...]] = {}
        for row_id, env_id, task, sample, version, args, vocabulary, schemas, nodes, drift, seconds in found:
            if schemas not in tools:
                tools[schemas] = tuple(msgspec.json.decode(schemas))
            yield Episode(
                env_id,
                _task_decoder.decode(task),
                sample,
                version,
                msgspec.json.decode(args),
                vocabulary,
                tools[schemas],
                _nodes_decoder.decode(nodes),
                drift,
                seconds,
                row_id,
            )

    def trajectories(self, selection: str | None = None) -> Iterator[Trajectory]:
        """All trajectories, or those that a selection kept.

        Raises:
            UserError: there is no such selection.
        """
        kept = None if selection is None else self._kept(selection)
        for episode in self.episodes():
            for trajectory in episode.trajectories():
                if kept is None or (episode.id, trajectory.leaf.id) in kept:
                    yield trajectory

    def groups(self) -> Iterator[list[Episode]]:
        """All episodes of one task, task after task, in the order of their first episodes."""
        first: dict[tuple[str, str, str], list[int]] = {}
        for row_id, *task in self.query("SELECT id, env, env_args, task FROM episodes ORDER BY id"):
            first.setdefault((task[0], task[1], task[2]), []).append(row_id)
        for ids in first.values():
            yield [self.episode(i) for i in ids]

    def pairs(self, name: str) -> Iterator[Pair]:
        """The pairs of this name that were kept.

        Raises:
            UserError: there are no pairs of this name.
        """
        fields = "chosen, chosen_leaf, rejected, rejected_leaf, first, margin, confidence, method, reason, dropped"
        rows = self.query(f"SELECT {fields} FROM pairs WHERE name = ? ORDER BY number", name)
        if not rows:
            raise UserError(f"{self.path} has no pairs {name!r}: make them with `agentgym pairs`")
        episode = functools.lru_cache(maxsize=64)(self.episode)  # pairs of one task follow each other
        for chosen, better, rejected, worse, first, margin, confidence, method, reason, dropped in rows:
            if not dropped:
                sides = episode(chosen).trajectory(better), episode(rejected).trajectory(worse)
                yield Pair(*sides, first, margin, confidence, method, reason)

    def totals(self, env: str, env_args: dict[str, Any], version: str) -> dict[str, Any]:
        """Mean `success` and `reward`, `tokens` sampled and rewritten histories (`drift`) in all; None where there are none."""
        sql = f"SELECT avg(success), avg(reward), sum(tokens), sum(drift) FROM episodes WHERE {_POLICY}"
        (row,) = self.query(sql, env, _args(env_args), version)
        return dict(zip(("success", "reward", "tokens", "drift"), row, strict=True))

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of any read-only query over the tables."""
        self.flush()
        return self._db.execute(sql, parameters).fetchall()

    def _kept(self, selection: str) -> set[tuple[int, int]]:
        rows = self.query("SELECT episode, leaf, reason FROM selections WHERE name = ?", selection)
        if not rows:
            raise UserError(f"{self.path} has no selection {selection!r}: make it with `agentgym select`")
        return {(episode, leaf) for episode, leaf, reason in rows if not reason}

    # ---- inside --------------------------------------------------------------------------------------------------------

    def _holds_nothing(self) -> bool:
        """Whether it is empty, and nobody else has it open: only then the write-ahead log can be given up."""
        try:
            self._db.execute("PRAGMA busy_timeout=0")
            alone = self._db.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        except sqlite3.Error:
            return False
        return alone and not self.query(_ANYTHING)[0][0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; a full disk or a lock that nobody gives up becomes one clear error."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise UserError(f"{self.path} cannot be written ({error}): mend that and run the command again") from error
            raise

    def _write_ahead(self) -> None:
        """Switch to the write-ahead log; SQLite does not wait for others that do the same at this moment."""
        for pause in (*[0.1] * 50, None):
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or pause is None:
                    raise
                time.sleep(pause)

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version < SCHEMA_VERSION:
            self._db.execute("BEGIN IMMEDIATE")  # two processes may open a new file at once
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            for missing in (_SCHEMA, _SCHEMA_2, _SCHEMA_3, _SCHEMA_4)[version:]:
                for statement in missing.split(";"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {max(version, SCHEMA_VERSION)}")
            self._db.execute("COMMIT")
        if version > SCHEMA_VERSION:
            self._db.close()
            raise UserError(f"{self.path} was written by a newer agentgym (schema {version}): upgrade to read it")

    def _row(self, episode: Episode) -> tuple[Any, ...]:
        task = episode.task
        actions = [n for n in episode.nodes if n.kind == "action"]
        ended = list(episode.trajectories()) or [episode.trajectory(actions[-1].id)]  # a search need not come to any end
        best = max(ended, key=lambda t: t.reward)
        return (
            *_key(episode),
            task.split,
            task.difficulty,
            best.success if best.judged else None,
            best.reward if best.judged else None,
            str(best.leaf.end or ""),
            len(best.actions),
            sum(len(n.token_ids or ()) + n.spent for n in actions),
            sum(len(n.errors) for n in actions),
            episode.drift,
            episode.seconds,
            time.time(),
            episode.vocabulary,
            self._toolset(episode.tools),
            _encode(task).decode(),
            _encode(episode.nodes).decode(),
        )

    def _toolset(self, tools: tuple[dict[str, Any], ...]) -> int:
        known = self._toolsets.get(id(tools))
        if known and known[0] is tools:  # environments hand out the same tuple again and again
            return known[1]
        schemas = _encode(tools).decode()  # never sorted: templates write schemas in their own order, into the model's prompt
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO toolsets (schemas) VALUES (?)", (schemas,))
        (row_id,) = self._db.execute("SELECT id FROM toolsets WHERE schemas = ?", (schemas,)).fetchone()
        if len(self._toolsets) > 1000:  # environments that make new tools for every task
            self._toolsets.clear()
        self._toolsets[id(tools)] = (tools, row_id)
        return int(row_id)


def _args(env_args: dict[str, Any]) -> str:
    return msgspec.json.encode(env_args, order="deterministic").decode() if env_args else "{}"


def _key(episode: Episode) -> tuple[str, str, str, int, str]:
    return episode.env, _args(episode.env_args), episode.task.id, episode.sample, episode.version
