"""code/Python-v0: conformance, feedback, cheats, the formats of MBPP and HumanEval, tasks of our own."""

import contextlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym import UserError, assistant, call
from agentgym.checks import check_env
from agentgym.tasks import SPLITS
from agentgym_envs.code.box import code_of
from agentgym_envs.code.functions import ENDS, LEVELS, STEPS, make_task
from agentgym_envs.code.problems import Problem, convert, difficulty
from agentgym_envs.code.python import MAX_PROGRAM, Python
from agentgym_envs.code.rows import split_by_hash, tasks_of

GOLD = "def f(x):\n    return x + 1\n"
MBPP = {
    "task_id": 605,
    "text": "Add one.",
    "code": GOLD,
    "test_setup_code": "",
    "test_list": ["assert f(1) == 2", "assert f(2) == 3"],
    "challenge_test_list": ["assert f(-1) == 0"],
}
HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'import math\n\ndef poly(xs, x):\n    """Evaluate."""\n    return sum(c * math.pow(x, i) for i, c in enumerate(xs))\n\n\ndef zero(xs):\n    """Find a zero.\n    >>> round(zero([1, 2]), 2) # x = -0.5\n    -0.5\n    >>> zero([])\n    nonsense\n    """\n',
    "entry_point": "zero",
    "canonical_solution": "    return -xs[0] / xs[1]\n",
    "test": "METADATA = {}\n\ndef check(candidate):\n    for a in range(1, 9):\n        assert abs(poly([a, 3], candidate([a, 3]))) < 1e-9\n",
}  # fmt: skip
CHEATS = {
    "nothing": "",
    "exit": "import sys\nsys.exit(0)",
    "equal": "class E:\n    def __eq__(self, o): return True\n    def __getattr__(self, n): return self\n    def __call__(self, *a, **k): return self\n    def __bool__(self): return True\ndef __getattr__(n): return E()\nimport builtins\nfor n in {names!r}:\n    globals()[n] = E()",
}  # fmt: skip


@pytest.fixture(scope="module")
def env() -> Iterator[Python]:
    made = Python()
    yield made
    made.close()


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def played(env: Python, task: Any, *actions: Any) -> tuple[list[str], dict[str, Any]]:
    """What was answered, and the last info."""
    env.reset(seed=0, options={"task": task})
    texts, info = [], {}
    for action in actions:
        observation, *_, info = env.step(action)
        texts += [m.content for m in observation.messages]
    return texts, info


def test_conformance() -> None:
    assert not [check for check in check_env("code/Python-v0", tasks=1) if not check.ok]


def test_an_attempt_that_is_mended(env: Python, tmp_path: Path) -> None:
    env.data = written(tmp_path / "x.jsonl", MBPP)
    wrong, broken = "def f(x):\n    print('here', object())\n    return x", "def f(x):\n    return x / 0"
    texts, info = played(
        env,
        "mbpp-605",
        *(assistant("", call("test", code=c)) for c in (wrong, broken, "def f(:", GOLD)),
        assistant("", call("submit", code=GOLD)),
    )
    assert "0 of 1 visible tests passed." in texts[0]
    assert "Failed: assert f(1) == 2\nAssertionError: the left side is 1" in texts[0]
    assert "here <object object at 0x...>" in texts[0]
    assert "ZeroDivisionError: division by zero" in texts[1]
    assert "The program does not run." in texts[2]
    assert "SyntaxError" in texts[2]
    assert texts[3] == "1 of 1 visible tests passed."
    assert info["success"]
    assert info["rewards"] == {"solved": 1.0, "compiles": 1.0, "visible": 1.0, "hidden": 1.0, "attempts": 0.2}
    env.data = None


def test_parts(env: Python, tmp_path: Path) -> None:
    env.data = written(tmp_path / "x.jsonl", MBPP)
    cases = {
        "def f(x): return 2": (0.0, 1.0, 1.0, 0.0),
        "def f(x): return abs(x) + 1": (0.0, 1.0, 1.0, 0.5),
        "x = 1": (0.0, 1.0, 0.0, 0.0),
        "def f(x": (0.0, 0.0, 0.0, 0.0),
        "": (0.0, 0.0, 0.0, 0.0),
        "x" * (MAX_PROGRAM + 1): (0.0, 0.0, 0.0, 0.0),
        f"Here it is:\n```python\n{GOLD}```\nDone.": (1.0, 1.0, 1.0, 1.0),
    }
    for answer, parts in cases.items():
        _, info = played(env, "mbpp-605", assistant(answer))
        assert tuple(info["rewards"].values())[:4] == parts, answer[:50]
        assert info["success"] == (parts[0] == 1)
    texts, _ = played(env, "mbpp-605", assistant("", call("test", code="x" * (MAX_PROGRAM + 1))))
    assert "has more than" in texts[0]
    env.data = None


def test_hidden_tests_are_nowhere(env: Python, tmp_path: Path) -> None:
    env.data = written(tmp_path / "x.jsonl", MBPP)
    observation, _ = env.reset(options={"task": "mbpp-605"})
    assert "f(1) == 2" in observation.messages[-1].content
    assert "f(2)" not in observation.messages[-1].content
    spy = "import os, gc\ndef f(x):\n    return x + 1\nprint([os.path.join(d, n) for d, _, ns in os.walk('/work') for n in ns])\nprint(f'f({1 + 1})' in str(gc.get_objects()))"
    texts, _ = played(env, "mbpp-605", assistant("", call("test", code=spy)))
    assert "[]\nFalse" in texts[0]
    env.data = None


def test_mbpp_format(tmp_path: Path) -> None:
    rows = [MBPP | {"task_id": n} for n in (1, 10, 11, 510, 511, 600, 601, 974, 5000)]
    path = written(tmp_path / "mbpp.jsonl", *rows)
    found = {split: [t.id for t in tasks_of(path, convert, split)] for split in SPLITS}
    assert found["test"][:2] == ["mbpp-11", "mbpp-510"]
    assert found["validation"][:4] == ["mbpp-1", "mbpp-10", "mbpp-511", "mbpp-600"]
    assert found["train"][:2] == ["mbpp-601", "mbpp-974"]
    assert "mbpp-5000" in found[split_by_hash(f"Add one.{GOLD}")]
    sanitized = {
        "task_id": 7,
        "prompt": "Add.",
        "code": GOLD,
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(f(1), 2)"],
    }
    (tmp_path / "array.json").write_text(json.dumps([sanitized]))
    (task,) = tasks_of(str(tmp_path / "array.json"), convert, "validation")
    problem = Problem(**task.data)
    assert problem.names == ("f",)
    assert "import math" in problem.setup
    with contextlib.closing(Python(data=str(tmp_path / "array.json"))) as env:
        _, info = played(env, task, assistant(GOLD))
        assert info["success"]


def test_setup_code_runs_after_the_program(env: Python) -> None:
    gold = "class Node:\n    def __init__(self, value):\n        self.value = value\n        self.next = None\ndef total(node):\n    return node.value + (total(node.next) if node.next else 0)"
    row = {
        "task_id": 601,
        "text": "Add up.",
        "code": gold,
        "test_setup_code": "root = Node(1)\nroot.next = Node(2)",
        "test_list": ["assert total(root) == 3", "assert total(root.next) == 2"],
    }
    task = convert(row, "")
    assert "root = Node(1)" in task.prompt
    _, info = played(env, task, assistant(gold))
    assert info["success"]


def test_humaneval_format(env: Python) -> None:
    task = convert(HUMANEVAL, "")
    problem = Problem(**task.data)
    assert task.split == "test"
    assert problem.visible == ("assert round(zero([1, 2]), 2) == -0.5",)
    for answer, solved in (
        (problem.gold, True),
        (HUMANEVAL["canonical_solution"], True),
        (f"```python\n{HUMANEVAL['prompt']}{HUMANEVAL['canonical_solution']}```", True),
        ("def zero(xs):\n    return -xs[0] / xs[1]", True),
        ("    pass", False),
        ("def poly(xs, x): return 0\ndef zero(xs): return -0.5", False),
        ("def check(candidate): pass\ndef zero(xs): return -0.5", False),
        ("", False),
    ):
        _, info = played(env, task, assistant(answer))
        assert info["success"] == solved, answer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no tasks"),
        ("{", "neither JSON lines nor a JSON array"),
        ("[1]", "neither JSON lines nor a JSON array"),
        ('{"task_id": 1}', "row 1: KeyError"),
        (json.dumps(MBPP | {"code": "def f(:"}), "row 1: SyntaxError"),
        (json.dumps(MBPP | {"test_list": [], "challenge_test_list": []}), "no tests"),
        (json.dumps(MBPP) + "\n" + json.dumps(MBPP), "there is a second task 'mbpp-605'"),
        (json.dumps(HUMANEVAL | {"entry_point": "other"}), "does not define 'other'"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(UserError, match=problem):
        Python(data=str(tmp_path / "x.jsonl")).tasks()


def test_wrong_arguments(tmp_path: Path) -> None:
    for arguments in ({"level": "no"}, {"sandbox": "no"}):
        with pytest.raises(UserError):
            Python(**arguments)
    with pytest.raises(UserError, match="there is no file"):
        Python(data=str(tmp_path / "missing")).tasks()


def test_tasks_of_our_own() -> None:
    rng = random.Random(0)
    for level, steps in LEVELS.items():
        for _ in range(30):
            task = make_task(rng, level)
            problem = Problem(**task.data)
            namespace: dict[str, Any] = {}
            exec(problem.gold, namespace)
            for test in problem.visible + problem.hidden:
                exec(test, namespace)
            assert problem.gold.count("\n") == steps + 2
            assert task.difficulty == level
    assert len(STEPS) * len(ENDS) > 200


def test_code_of_an_answer() -> None:
    assert code_of("x = 1") == "x = 1"
    assert code_of("```py\nx = 1\n```\nand\n```python\ny = 2\n```") == "y = 2\n"
    assert code_of("```\nx\n```") == "x\n"


def test_difficulty() -> None:
    assert difficulty("x = 1") == "easy"
    assert difficulty("x = 1\n" * 15) == "medium"
    assert difficulty("x = 1\n" * 40) == "hard"


@pytest.mark.skipif("AGENTGYM_DATA" not in os.environ, reason="AGENTGYM_DATA is not set")
def test_mbpp(env: Python) -> None:
    """A sample; `agentgym env validate code/Python-v0 --data` plays the whole."""
    env.data = f"{os.environ['AGENTGYM_DATA']}/mbpp/mbpp.jsonl"
    assert [len(env.tasks(split)) for split in SPLITS] == [374, 100, 500]
    sample = [t for split in SPLITS for t in env.tasks(split)[::100]] + [env.find_task(f"mbpp-{n}") for n in (367, 533, 927)]
    for task in sample:
        names = Problem(**task.data).names
        _, info = played(env, task, assistant(task.data["gold"]))
        assert info["success"], task.id
        for name, program in CHEATS.items():
            _, info = played(env, task, assistant(program.replace("{names!r}", repr(names))))
            assert not info["success"], (task.id, name)
    env.data = None
