"""code/Sql-v0: conformance, answers and final states, SQLite's walls, DBBench's format, questions about any database."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym import EnvironmentFailure, Task, UserError, assistant, call
from agentgym.checks import check_env, validate_env
from agentgym.tasks import SPLITS
from agentgym_envs.code.database import PAGES, Database
from agentgym_envs.code.questions import Question
from agentgym_envs.code.sql import Sql

ROW = {
    "description": "Who is 7?",
    "label": ["Ann", "Bob"],
    "type": ["other"],
    "table": {
        "table_name": "a b",
        "table_info": {
            "columns": [{"name": "who?", "type": "TEXT"}, {"name": "n", "type": "INT"}],
            "rows": [["Ann", "7"], ["Bob", "7"], ["Cy's", None]],
        },
    },
}
CHANGE = ROW | {"description": "Make Ann 8.", "type": ["UPDATE"], "label": ["UPDATE `a b` SET n = 8 WHERE `who?` = 'Ann'"]}


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Sql]:
    rows = [
        ROW,
        CHANGE,
        CHANGE | {"label": ["UPDATE nothing"], "description": "x"},
        CHANGE | {"label": ["DELETE FROM `a b` WHERE n = 9"], "description": "y"},
    ]
    (tmp_path / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = Sql(str(tmp_path))
    yield made
    made.close()


def run(env: Sql, task: Task, *actions: Any) -> tuple[list[str], dict[str, Any]]:
    env.reset(seed=0, options={"task": task})
    texts, info = [], {}
    for action in actions:
        observation, *_, info = env.step(action)
        texts += [m.content for m in observation.messages]
    return texts, info


def do(sql: str) -> Any:
    return assistant("", call("execute", sql=sql))


def test_conformance() -> None:
    assert not [check for check in check_env("code/Sql-v0", tasks=1) if not check.ok]


@pytest.mark.parametrize(
    ("action", "solved"),
    [
        (assistant("", call("answer", values=["Bob", " ann "])), True),
        (assistant('["Bob", "Ann"]'), True),
        (assistant("", call("answer", values=["Ann"])), False),
        (assistant("", call("answer", values=["Ann", "Bob", "Cy's"])), False),
        (assistant("", call("answer", values=["Ann", "Ann"])), False),
        (assistant("Ann, Bob"), False),
        (assistant("The answer is Ann and Bob"), False),
        (assistant(""), False),
    ],
)
def test_answers(env: Sql, action: Any, solved: bool) -> None:
    _, info = run(env, env.tasks("validation")[0], action)
    assert info["success"] == solved


def test_numbers_are_numbers(env: Sql) -> None:
    task = env.tasks("validation")[0]
    for label, given, same in (
        ("1174.0", "1,174", True),
        ("0.1", "0.10000000001", True),
        ("2", "2.5", False),
        ("none", "0", False),
        ("nan", "nan", True),
        ("1e999", "inf", True),
    ):
        changed = Task(task.prompt, task.data | {"values": [label]}, "x")
        _, info = run(env, changed, assistant("", call("answer", values=[given])))
        assert info["success"] == same, (label, given)


def test_a_question_is_no_licence_to_change(env: Sql) -> None:
    _, info = run(env, env.tasks("validation")[0], do("DELETE FROM `a b`"), assistant("", call("answer", values=["Ann", "Bob"])))
    assert not info["success"]
    assert info["rewards"] == {"solved": 0.0, "executed": 1.0}


def test_changes(env: Sql) -> None:
    change, broken, nothing = list(env.tasks("validation"))[1:]
    done = assistant("Done.")
    assert run(env, change, do(CHANGE["label"][0]), done)[1]["success"]
    assert run(
        env,
        change,
        do("update `a b` set n = 9"),
        do("update `a b` set n = 7 where n = 9 and `who?` = 'Bob'"),
        do("update `a b` set n = 8 where `who?` = 'Ann'"),
        do("update `a b` set n = null where n = 9"),
        done,
    )[1]["success"]
    assert not run(env, change, do("update `a b` set n = 8"), done)[1]["success"]
    assert not run(env, change, done)[1]["success"]
    for unsolvable in (broken, nothing):
        assert not run(env, unsolvable, do("delete from `a b` where n = 9"), done)[1]["success"]
    validation = validate_env(env, "validation", None)
    assert (validation.tasks, validation.gold_passed, validation.floor_passed) == (4, 2, 0)


def test_returning_to_a_state(env: Sql) -> None:
    task = env.tasks("validation")[1]
    env.reset(seed=0, options={"task": task})
    env.step(do("UPDATE `a b` SET n = 1"))
    state, key = env.snapshot(), env.state_key()
    env.step(do("DELETE FROM `a b`"))
    assert env.state_key() != key
    env.restore(state)
    assert env.state_key() == key
    assert '"n":1' in env.step(do("SELECT n FROM `a b`"))[0].messages[0].content
    env.restore(state)
    env.state.changes = ()
    with pytest.raises(EnvironmentFailure, match="did not come back"):
        _ = env.database


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH DATABASE '/tmp/agentgym-attached' AS x",
        "VACUUM INTO '/tmp/agentgym-attached'",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('x')",
        "SELECT random()",
        "SELECT hex(randomblob(4))",
        "SELECT readfile('/etc/passwd')",
        "CREATE TEMP TABLE t (a)",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "SELECT 1; SELECT 2",
        "SELECT zeroblob(1000000000)",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
        "SELECT * FROM nothing",
        "x" * 2_000_000,
        "SELECT '\ud800'",
    ],
)
def test_walls(env: Sql, sql: str) -> None:
    task = env.tasks("validation")[0]
    texts, info = run(env, task, do(sql))
    assert info["errors"]
    assert texts[0].startswith("Error: ")
    assert env.state_key() == _fresh(env, task)
    assert not Path("/tmp/agentgym-attached").exists()


def _fresh(env: Sql, task: Task) -> str:
    env.reset(seed=0, options={"task": task})
    return env.state_key()


def test_a_database_that_grows_too_large() -> None:
    db = Database()
    db.execute("CREATE TABLE t (a)")
    fill = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100) INSERT INTO t SELECT zeroblob(900000) FROM c"
    )
    with pytest.raises(sqlite3.Error, match="full"):
        db.execute(fill)
    assert len(db.image()) <= PAGES * 4096
    db.close()


def test_what_a_statement_began_is_undone(env: Sql) -> None:
    texts, _ = run(
        env, env.tasks("validation")[0], do("BEGIN"), do("UPDATE `a b` SET n = 1"), do("ROLLBACK"), do("SELECT n FROM `a b`")
    )
    assert '"n":1' in texts[3]
    assert texts[2].startswith("Error")


def test_long_results_are_cut_and_say_so(env: Sql) -> None:
    sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 90) SELECT x, x'00ff' AS b FROM c"
    texts, _ = run(env, env.tasks("validation")[0], do(sql))
    assert texts[0].endswith("(the first 50 rows)")
    assert '"b":"00ff"' in texts[0]


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_bytes(b"nothing")
    (tmp_path / "x.jsonl").write_text('{"type": ["other"]}')
    (tmp_path / "poor.sqlite").touch()
    sqlite3.connect(tmp_path / "poor.db").execute("CREATE TABLE t (a)").connection.close()
    for name, problem in (
        ("x.sqlite", "no SQLite database"),
        ("x.jsonl", "row 1: KeyError"),
        ("poor.db", "too few tables"),
        ("none", "there is no file"),
    ):
        with pytest.raises(UserError, match=problem):
            _ = Sql(str(tmp_path / name)).tasks()[0]
    with pytest.raises(UserError, match="there is no level 'no'"):
        Sql(level="no")


DATA = os.environ.get("AGENTGYM_DATA")


@pytest.mark.skipif(DATA is None, reason="AGENTGYM_DATA is not set")
def test_dbbench_as_published() -> None:
    env = Sql(f"{DATA}/dbbench")
    assert [len(env.tasks(split)) for split in SPLITS] == [0, 60, 300]
    validation = validate_env(env, None, None)
    assert (validation.tasks, validation.gold_passed, validation.floor_passed) == (360, 358, 0)
    ran = []
    for name in validation.gold_failed:  # one is no SQL, one changes nothing
        question = Question(**env.find_task(name).data)
        db = question.open()
        before = db.key()
        with contextlib.suppress(sqlite3.Error):
            db.execute(question.gold)
            ran.append(db.key() == before)
        db.close()
    assert ran == [True]
    changes = [t for s in SPLITS for t in env.tasks(s) if Question(**t.data).values is None]
    assert len(changes) == 240


@pytest.mark.skipif(DATA is None, reason="AGENTGYM_DATA is not set")
def test_chinook() -> None:
    env = Sql(f"{DATA}/chinook/Chinook_Sqlite.sqlite")
    for split in SPLITS:
        validation = validate_env(env, split, 6)
        assert (validation.gold_passed, validation.floor_passed) == (6, 0)
