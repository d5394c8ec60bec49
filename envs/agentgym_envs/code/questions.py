"""Tasks on databases: the format of DBBench, and questions made for any SQLite database.

DBBench (AgentBench, Liu et al. 2023, arXiv:2308.03688): one table for each task, given in the row, and a ``label``: the answer of
a question, or the statement that makes a change. Questions are judged by the label: their published queries run only in part.
Of the 240 changes of the published files one is no valid SQL and one changes nothing; nobody can solve these two,
and `agentgym env validate` names them.
"""

import functools
import hashlib
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agentgym import Task, UserError

from .database import Database, literal, quoted
from .rows import Row, split_by_hash

GOODS = ("lamp", "chair", "table", "kettle", "rope", "tent", "mug", "clock", "radio", "brush", "shelf", "scarf")
TOWNS = ("Arden", "Brill", "Corby", "Dover", "Ely", "Frome")
FIRST = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jo")


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a task is judged by; its data.

    Attributes:
        gold: The statement that answers the question or makes the change; empty where only the answer is known.
        values: The answer; None where a change is asked for.
        source: The database: a file, or empty with a seed or a table of its own.
        seed: Of a database made for the task.
        table: Name, columns (names and types) and rows of the only table.
    """

    gold: str
    values: list[str] | None
    source: str = ""
    seed: int = 0
    table: tuple[str, list[tuple[str, str]], list[list[Any]]] | None = None

    def open(self) -> Database:
        """The database as the task begins."""
        if self.table is not None:
            return Database(_image_of_table(msgspec.json.encode(self.table)))
        return Database(image_of_file(self.source) if self.source else image_of_seed(self.seed))


def convert(row: Row, named: str) -> Task:
    """A row of DBBench as a task."""
    kind, label, table = row["type"][0], [str(v) for v in row["label"]], row["table"]
    info = table["table_info"]
    columns = [(c["name"], c.get("type", "TEXT")) for c in info["columns"]]
    change = kind in ("INSERT", "UPDATE", "DELETE")
    content = (table["table_name"], columns, info["rows"])
    question = Question(label[0], None, table=content) if change else Question("", label, table=content)
    text = f"{row['description'].strip()}\n{row.get('add_description', '').strip()}".strip()
    identity = msgspec.json.encode((text, question)).decode()
    level = "easy" if kind in ("INSERT", "other") else "medium" if kind in ("UPDATE", "counting", "comparison") else "hard"
    number = _digest(identity)
    return Task(text, msgspec.to_builtins(question), f"dbbench-{number}", named or split_by_hash(identity), level)


def _digest(identity: str) -> str:
    return hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()


@functools.lru_cache(maxsize=64)
def _image_of_table(encoded: bytes) -> bytes:
    name, columns, rows = msgspec.json.decode(encoded)
    db = Database()
    db.execute(f"CREATE TABLE {quoted(name)} ({', '.join(f'{quoted(c)} {kind}' for c, kind in columns)})")
    for row in rows:
        db.execute(f"INSERT INTO {quoted(name)} VALUES ({', '.join(map(literal, row))})")
    return db.image()


@functools.lru_cache(maxsize=4)
def image_of_file(path: str) -> bytes:
    """A database file as a value.

    Raises:
        UserError: there is none.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                raise UserError(f"{path} is no SQLite database: give one, or a file of DBBench's JSON lines")
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return db.serialize()
    finally:
        db.close()


@functools.lru_cache(maxsize=64)
def image_of_seed(seed: int) -> bytes:
    """A small shop: customers, products and orders."""
    rng = random.Random(seed)
    db = Database()
    db.execute("CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT, town TEXT, age INTEGER)")
    db.execute("CREATE TABLE products (product_id INTEGER PRIMARY KEY, name TEXT, price INTEGER, stock INTEGER)")
    db.execute(
        "CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (customer_id), "
        "product_id INTEGER REFERENCES products (product_id), quantity INTEGER)"
    )
    people = rng.randint(6, 10)
    for i in range(people):
        db.execute(f"INSERT INTO customers VALUES ({i + 1}, '{FIRST[i]}', '{rng.choice(TOWNS)}', {rng.randint(18, 80)})")
    goods = rng.sample(GOODS, rng.randint(6, 10))
    for i, name in enumerate(goods):
        db.execute(f"INSERT INTO products VALUES ({i + 1}, '{name}', {rng.randint(2, 90)}, {rng.randint(0, 30)})")
    for i in range(rng.randint(12, 24)):
        row = f"{i + 1}, {rng.randint(1, people)}, {rng.randint(1, len(goods))}, {rng.randint(1, 5)}"
        db.execute(f"INSERT INTO orders VALUES ({row})")
    return db.image()


# ---- questions about any database -------------------------------------------------------------------------------------

Made = tuple[str, str, bool]  # in words, as a statement, whether it is a change


class Schema:
    """What questions can be asked about a database.

    Attributes:
        words: Columns of text with few enough different values, by table.
        numbers: Columns of numbers, keys left out, by table.
        keys: The primary key of each table that has one of a single column.
        joins: Foreign keys: table, column, other table, its key.
    """

    def __init__(self, image: bytes) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.deserialize(image)
        self.words: dict[str, list[str]] = {}
        self.numbers: dict[str, list[str]] = {}
        self.keys: dict[str, str] = {}
        self.joins: list[tuple[str, str, str, str]] = []
        for (table,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
            self._read(table)

    def _read(self, table: str) -> None:
        columns = self._db.execute(f"PRAGMA table_info({quoted(table)})").fetchall()
        foreign = self._db.execute(f"PRAGMA foreign_key_list({quoted(table)})").fetchall()
        own = [c[1] for c in columns if c[5]]
        if len(own) == 1:
            self.keys[table] = own[0]
        self.joins += [(table, f[3], f[2], f[4]) for f in foreign if f[4]]
        taken = {*own, *(f[3] for f in foreign)}
        for name in (c[1] for c in columns if c[1] not in taken):
            kinds = {k for (k,) in self._db.execute(f"SELECT DISTINCT typeof({quoted(name)}) FROM {quoted(table)}")}
            if kinds - {"null"} == {"text"}:
                self.words.setdefault(table, []).append(name)
            elif kinds and kinds <= {"integer", "real"}:
                self.numbers.setdefault(table, []).append(name)

    def value(self, rng: random.Random, table: str, column: str) -> Any:
        """One of a column's values."""
        query = f"SELECT DISTINCT {quoted(column)} FROM {quoted(table)} WHERE {quoted(column)} IS NOT NULL ORDER BY 1"
        return rng.choice(self._db.execute(query).fetchall())[0]


@functools.lru_cache(maxsize=64)
def _schema(source: str, seed: int) -> Schema:
    return Schema(image_of_file(source) if source else image_of_seed(seed))


def _pick(rng: random.Random, columns: dict[str, list[str]], table: str | None = None) -> tuple[str, str]:
    table = rng.choice(sorted(columns)) if table is None else table
    return table, rng.choice(columns[table])


def _count(rng: random.Random, s: Schema) -> Made:
    table, column = _pick(rng, s.words)
    value = s.value(rng, table, column)
    where = f"FROM {quoted(table)} WHERE {quoted(column)} = {literal(value)}"
    return f"How many rows of the table {table} have the {column} {value!r}?", f"SELECT COUNT(*) {where}", False


def _extreme(rng: random.Random, s: Schema) -> Made:
    table, column = _pick(rng, s.numbers)
    word, function = rng.choice((("largest", "MAX"), ("smallest", "MIN"), ("sum of all values of", "SUM")))
    said = f"What is the {word} {column} in the table {table}?"
    return said, f"SELECT {function}({quoted(column)}) FROM {quoted(table)}", False


def _different(rng: random.Random, s: Schema) -> Made:
    table, column = _pick(rng, s.words)
    said = f"How many different {column} values are in the table {table}?"
    return said, f"SELECT COUNT(DISTINCT {quoted(column)}) FROM {quoted(table)}", False


def _joined(rng: random.Random, s: Schema) -> Made:
    table, column, other, key = rng.choice([j for j in s.joins if j[2] in s.words])
    _, word = _pick(rng, s.words, other)
    value = s.value(rng, other, word)
    said = f"How many rows of the table {table} refer by {column} to a row of {other} whose {word} is {value!r}?"
    join = f"{quoted(table)} AS a JOIN {quoted(other)} AS b ON a.{quoted(column)} = b.{quoted(key)}"
    return said, f"SELECT COUNT(*) FROM {join} WHERE b.{quoted(word)} = {literal(value)}", False


def _most(rng: random.Random, s: Schema) -> Made:
    table, column = _pick(rng, s.words)
    said = f"Which {column} occurs most often in the table {table}? Among equals, the first in alphabetical order."
    name = quoted(column)
    query = f"SELECT {name} FROM {quoted(table)} WHERE {name} IS NOT NULL GROUP BY {name} ORDER BY COUNT(*) DESC, {name} LIMIT 1"
    return said, query, False


def _update(rng: random.Random, s: Schema) -> Made:
    table, column = _pick(rng, {t: c for t, c in s.numbers.items() if t in s.keys})
    key, number = s.value(rng, table, s.keys[table]), rng.randint(100, 999)
    said = f"Set the {column} to {number} in the row of the table {table} whose {s.keys[table]} is {key!r}."
    return said, f"UPDATE {quoted(table)} SET {quoted(column)} = {number} WHERE {quoted(s.keys[table])} = {literal(key)}", True


def _raise(rng: random.Random, s: Schema) -> Made:
    table, word = _pick(rng, {t: c for t, c in s.words.items() if t in s.numbers})
    _, number = _pick(rng, s.numbers, table)
    value, more = s.value(rng, table, word), rng.randint(1, 20)
    said = f"Add {more} to the {number} of all rows of the table {table} whose {word} is {value!r}."
    name = quoted(number)
    return said, f"UPDATE {quoted(table)} SET {name} = {name} + {more} WHERE {quoted(word)} = {literal(value)}", True


def _delete(rng: random.Random, s: Schema) -> Made:
    table, column = _pick(rng, s.words)
    value = s.value(rng, table, column)
    said = f"Delete all rows of the table {table} whose {column} is {value!r}."
    return said, f"DELETE FROM {quoted(table)} WHERE {quoted(column)} = {literal(value)}", True


LEVELS: dict[str, tuple[Callable[[random.Random, Schema], Made], ...]] = {
    "easy": (_count, _extreme, _update),
    "medium": (_different, _delete, _raise),
    "hard": (_joined, _most),
}


def make_task(rng: random.Random, level: str, source: str) -> Task:
    """A question or a change on a database file, or on a small shop of our own.

    Raises:
        UserError: the database is too poor for questions of this level.
    """
    seed = 0 if source else rng.randrange(1000)
    schema = _schema(source, seed)
    try:
        said, gold, change = rng.choice(LEVELS[level])(rng, schema)
    except IndexError as error:
        raise UserError(f"{source} has too few tables for {level} questions: choose another level") from error
    values: list[str] | None = None
    db = Database(image_of_file(source) if source else image_of_seed(seed))
    try:
        _, rows = db.execute(gold)
    finally:
        db.close()
    if not change:
        values = [str(rows[0][0])]
    return Task(said, msgspec.to_builtins(Question(gold, values, source, seed)), difficulty=level)
