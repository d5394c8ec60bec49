"""code/Shell-v0: conformance, gold scripts against an independent implementation, cheats, states, rows of others."""

import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym import EnvironmentFailure, Task, UserError, assistant, call
from agentgym.checks import check_env, validate_env
from agentgym.tasks import SPLITS
from agentgym_envs.code.chores import QUESTIONS_ASKED, STEPS, File, _tree, check, make_task
from agentgym_envs.code.scripts import convert
from agentgym_envs.code.shell import MAX_ANSWER, Shell
from tests.docker_engine import DOCKER

TREE = {"a.txt": File(("one",)), "d/b.sh": File(("two", "three"), program=True)}
SETUP = "mkdir d; echo one > a.txt; printf 'two\\nthree\\n' > d/b.sh; chmod 755 d/b.sh; echo x > c.tmp"
CLEAN = Task("Delete c.tmp.", {"setup": SETUP, "check": check(TREE), "gold": "rm c.tmp"}, "x")
DONE = assistant("Done.")


@pytest.fixture(scope="module")
def env() -> Iterator[Shell]:
    made = Shell()
    yield made
    made.close()


def bash(command: str) -> Any:
    return assistant("", call("bash", command=command))


def run(env: Shell, task: Task, *actions: Any) -> tuple[list[str], dict[str, Any]]:
    env.reset(seed=0, options={"task": task})
    texts, info = [], {}
    for action in actions:
        observation, *_, info = env.step(action)
        texts += [m.content for m in observation.messages]
    return texts, info


def test_conformance() -> None:
    assert not [check for check in check_env(Shell, tasks=1) if not check.ok]


def test_gold_and_doing_nothing(env: Shell) -> None:
    for split in SPLITS:
        validation = validate_env(env, split, 4)
        assert (validation.gold_passed, validation.floor_passed) == (4, 0)


def test_every_step_and_question_does_in_bash_what_python_does(env: Shell) -> None:
    rng = random.Random(0)
    for step in STEPS:
        for _ in range(100):
            tree = _tree(rng)
            words, script, after = step(rng, tree)
            if after not in (tree, {}):
                break
        assert words
        setup = "\n".join(
            f"mkdir -p $(dirname {p}); printf %s '{f.content()}' > {p}; chmod {7 if f.program else 6}44 {p}"
            for p, f in tree.items()
        )
        assert run(env, Task(words, {"setup": setup, "check": check(after)}, "x"), bash(script), DONE)[1]["success"], script
        assert not run(env, Task(words, {"setup": setup, "check": check(after)}, "x"), DONE)[1]["success"], script
    for question in QUESTIONS_ASKED:
        words, script, answer = question(rng, tree)
        texts, info = run(env, Task(words, {"setup": setup, "check": check(tree, answer)}, "x"), bash(script), assistant(answer))
        assert texts == [answer], words
        assert info["success"]


def test_steps_of_every_level() -> None:
    rng = random.Random(1)
    for level, count in (("easy", 1), ("medium", 2), ("hard", 3)):
        for _ in range(100):
            task = make_task(rng, level)
            assert len(task.data["gold"].splitlines()) == count
            assert task.difficulty == level
            assert task.prompt[-1] in ".?"
    with pytest.raises(UserError, match="there is no level 'no'"):
        Shell(level="no")


@pytest.mark.parametrize(
    ("command", "solved"),
    [
        ("rm c.tmp", True),
        ("rm c.tmp; mkdir empty; touch /tmp/x", True),
        ("mv c.tmp /tmp", True),
        ("cp a.txt /tmp; rm a.txt c.tmp; cp /tmp/a.txt .", True),
        ("true", False),
        ("rm -rf *", False),
        ("rm c.tmp; touch other", False),
        ("rm c.tmp; echo >> a.txt", False),
        ("rm c.tmp; chmod -x d/b.sh", False),
        ("rm c.tmp; chmod +x a.txt", False),
        ("rm c.tmp; mv a.txt /tmp; ln -s /tmp/a.txt a.txt", False),
        ("rm c.tmp; printf 'one\\0\\n' > a.txt", False),
        ("mv c.tmp .hidden", False),
        ("rm c.tmp; ln -s /dev/null link", False),
        ("mv c.tmp $'a.txt\\nf d'; chmod 0 d", False),
        ("rm c.tmp; chmod 0 .", False),
        ("find() { :; }; test() { return 0; }; export -f find test; printf 'exit 0' > .bashrc; cp .bashrc .profile", False),
        ("printf '#!/bin/bash\\nexit 0' > find; chmod +x find; cp find sort; cp find sha256sum; export PATH=/work:$PATH", False),
        ("(setsid bash -c 'sleep 1; rm c.tmp' &)", False),
        ("while :; do :; done & echo kept; exit 0", False),
    ],
)  # fmt: skip
def test_what_counts_as_solved(env: Shell, command: str, solved: bool) -> None:
    assert run(env, CLEAN, bash(command), DONE)[1]["success"] == solved


def test_the_check_is_nowhere(env: Shell) -> None:
    texts, _ = run(env, CLEAN, bash("grep -rs sha256sum /work /tmp; env; cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '; true"))
    assert "sha256" not in texts[0].replace("grep -rs sha256sum", "")


def test_answers(env: Shell) -> None:
    task = Task("How many?", {"setup": SETUP, "check": check(TREE | {"c.tmp": File(("x",))}, "3")}, "x")
    for value, solved in (("3", True), (" 3\n", True), ("", False), ("33", False), ("3 or 4", False), ("3\0", False), ("!", False), ("3" * 10 * MAX_ANSWER, False)):  # fmt: skip
        assert run(env, task, assistant("", call("answer", value=value)))[1]["success"] == solved, value[:20]
    assert not run(env, task, bash("rm c.tmp"), assistant("3"))[1]["success"]


def test_what_is_told_of_a_command(env: Shell) -> None:
    texts, _ = run(env, CLEAN, bash("exit 3"), bash("cat none"), bash("cd d; pwd; ls"), bash("pwd; export A=1"), bash("echo $A"))
    assert texts[0] == "(exit code 3)"
    assert texts[1] == "cat: none: No such file or directory\n(exit code 1)"
    assert texts[2:] == ["/work/d\nb.sh", "/work", "(no output)"]
    with contextlib.closing(Shell()) as short:
        short.limits = env.limits.__class__(seconds=0.5, memory=64 << 20)
        texts, _ = run(short, CLEAN, bash("echo x; sleep 9"), bash("python -c 'x = bytearray(100 << 20); input()' < /dev/zero"))
        assert texts[0] == "x\nThis took too long and was ended."
        assert "too much memory" in texts[1]


def test_returning_to_a_state(env: Shell) -> None:
    run(env, CLEAN, bash("rm c.tmp"))
    state, key = env.snapshot(), env.state_key()
    assert env.oracle() == DONE.__class__("assistant", "It is done.")
    env.step(bash("rm -r d"))
    assert env.state_key() != key
    assert env.oracle() is None
    env.restore(state)
    assert env.state_key() == key
    with contextlib.closing(Shell()) as other:
        other.restore(state)
        assert other.step(bash("ls"))[0].messages[0].content == "a.txt\nd"
        assert other.step(DONE)[4]["success"]
    env.reset(options={"task": CLEAN})
    env.step(bash("ls"))
    assert env.oracle() == assistant("", call("bash", command="rm c.tmp"))


@DOCKER
def test_in_docker(engine: str) -> None:
    with contextlib.closing(Shell(sandbox="docker")) as env:
        validation = validate_env(env, "train", 2)
        assert (validation.gold_passed, validation.floor_passed) == (2, 0)


MATCH = {
    "description": "How many?",
    "create": {"local": "default", "init": {"code": "touch a b"}},
    "evaluation": {"match": "2", "example": {"code": "ls | wc -l"}},
    "labels": ["easy"],
}
CHAIN = {
    "description": "How many, once more?",
    "create": {"init": "touch a b c"},
    "evaluation": {
        "check": [None, {"language": "python", "code": "import sys\nsys.exit(int(sys.argv[1]) != int(sys.argv[2]))"}],
        "example": "ls | wc -l",
    },
    "id": "count-3",
    "split": "train",
}
STATE = {"description": "Make x.", "evaluation": {"check": ["[ -f x ]", "[ -s x ]"], "example": "echo 1 > x"}}


def test_rows_in_the_manner_of_agentbench(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, (MATCH, CHAIN, STATE))))
    with contextlib.closing(Shell(str(tmp_path))) as env:
        assert [len(env.tasks(split)) for split in SPLITS] == [1, 0, 2]
        assert env.find_task("count-3").split == "train"
        assert env.tasks("test")[0].difficulty == "easy"
        validation = validate_env(env, None, None)
        assert (validation.tasks, validation.gold_passed, validation.floor_passed) == (3, 3, 0)
        assert not run(env, env.find_task("count-3"), assistant("2"))[1]["success"]
        assert not run(env, env.tasks("test")[1], bash("touch x"), DONE)[1]["success"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (STATE | {"start": "nc -l 80"}, "a program that runs beside"),
        (STATE | {"create": {"local": "packages"}}, "an image of its own"),
        (STATE | {"evaluation": {"check": []}}, "no check"),
        (STATE | {"evaluation": {"check": [None]}}, "no check"),
        (STATE | {"evaluation": {"check": [{"file": "check/x.py"}]}}, "a file of its own"),
        (STATE | {"evaluation": {"check": [{"language": "c++", "code": "x"}]}}, "only bash and python"),
        (STATE | {"evaluation": {"match": {"regex": "x"}}}, "match is no text"),
        (STATE | {"evaluation": {}}, "KeyError: 'check'"),
        ({"prompt": "x"}, "KeyError: 'description'"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=f"row 1: .*{problem}"):
        Shell(str(tmp_path / "x.jsonl")).tasks()


def test_a_setup_that_fails(env: Shell) -> None:
    task = convert(STATE | {"create": {"init": "cat none"}}, "train")
    with pytest.raises(EnvironmentFailure, match="could not be set up: cat: none"):
        env.reset(options={"task": task})
    assert env.reset(options={"task": convert(STATE | {"evaluation": {"check": ["true"]}}, "train")})
    assert env.oracle() is None
