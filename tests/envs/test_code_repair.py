"""code/Repair-v0: conformance, faults that tests show, how small a repair is, security fixes, files."""

import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym import UserError, assistant, call
from agentgym.checks import check_env, validate_env
from agentgym.sandbox import LocalSandbox
from agentgym.tasks import SPLITS
from agentgym_envs.code.problems import Problem
from agentgym_envs.code.repair import Repair, changed_lines
from agentgym_envs.code.weaknesses import WEAKNESSES, make_task


@pytest.fixture(scope="module")
def env() -> Iterator[Repair]:
    made = Repair("small")
    yield made
    made.close()


def handed_in(env: Repair, task: Any, program: str) -> dict[str, Any]:
    env.reset(seed=0, options={"task": task})
    return env.step(assistant("", call("submit", code=program)))[4]


def test_conformance() -> None:
    assert not [check for check in check_env("code/Repair-v0", tasks=1) if not check.ok]


def test_a_repair(env: Repair) -> None:
    for task in env.tasks()[:6]:
        faulty, gold = task.data["faulty"], Problem(**{k: v for k, v in task.data.items() if k != "faulty"}).gold
        assert faulty in task.prompt
        assert gold not in task.prompt
        assert changed_lines(faulty, gold) == 1
        info = handed_in(env, task, faulty)
        assert not info["rewards"]["solved"]
        assert info["rewards"]["small"] == 0
        info = handed_in(env, task, gold)
        assert info["success"]
        assert info["rewards"]["small"] == 1
        info = handed_in(env, task, f"import math\nimport re\n{gold}")
        assert info["rewards"]["solved"] == 1
        assert info["rewards"]["small"] == pytest.approx(1 / 3)
        assert not info["success"]


def test_what_is_asked_for(env: Repair) -> None:
    task = env.tasks()[0]
    assert "as few lines" in env.reset(options={"task": task})[0].messages[-1].content
    plain = Repair()
    assert "as few lines" not in plain.reset(options={"task": task})[0].messages[-1].content
    assert handed_in(plain, task, f"import math\n{task.data['gold']}")["success"]
    plain.close()
    with pytest.raises(UserError, match="cannot ask for 'speed'"):
        Repair("speed")


def test_changed_lines() -> None:
    assert changed_lines("a\nb\nc", "a\nb\nc\n") == 0
    assert changed_lines("a\nb\nc", "a\nx\nc") == 1
    assert changed_lines("a\nb\nc", "a\nc") == 1
    assert changed_lines("a\nb\nc", "x\ny\nz\nw") == 4
    assert changed_lines("a", "") == 1


def test_what_does_not_compile() -> None:
    with contextlib.closing(Repair("compiles")) as env:
        for task in env.tasks("test")[:3]:
            info = handed_in(env, task, task.data["faulty"])
            assert (info["rewards"]["solved"], info["rewards"]["compiles"]) == (0, 0)
            info = handed_in(env, task, "x = 1")
            assert (info["rewards"]["compiles"], info["success"]) == (1, False)
            assert handed_in(env, task, task.data["gold"])["success"]


def test_weak_programs() -> None:
    """Each passes the tests and none of the attacks; the mended one passes all."""
    rng, seen = random.Random(0), set()
    with LocalSandbox(Repair.limits) as sandbox:
        while len(seen) < len(WEAKNESSES):
            task = make_task(rng, rng.choice(("easy", "medium", "hard")))
            name = task.prompt.partition("CWE-")[2][:3]
            if name not in seen:
                seen.add(name)
                data = dict(task.data)
                attacks, faulty = data.pop("attacks"), data.pop("faulty")
                problem = Problem(**data)
                report = sandbox.examine(problem.exam(faulty, hidden=True))
                assert [bool(f) for f in report.failures] == [False] * (len(report.failures) - attacks) + [True] * attacks, task
                assert not any(sandbox.examine(problem.exam(problem.gold, hidden=True)).failures), task


def test_security_fixes() -> None:
    with contextlib.closing(Repair("secure", level="easy")) as env:
        for split in SPLITS:
            assert len({t.data["gold"] for t in env.tasks(split)[:50]}) > 5
        task = env.tasks()[0]
        assert "can misuse it (CWE-" in task.prompt
        info = handed_in(env, task, task.data["faulty"])
        assert (info["rewards"]["solved"], info["rewards"]["secure"], info["success"]) == (0, 0, False)
        name = task.data["names"][0]
        info = handed_in(env, task, f"def {name}(*a): return None")  # withstands some, but does nothing any more
        assert (info["rewards"]["secure"], info["success"]) == (0, False)
        assert handed_in(env, task, task.data["gold"])["rewards"]["secure"] == 1
        validation = validate_env(env, "validation", 3)
        assert (validation.gold_passed, validation.floor_passed) == (3, 0)


ROW = {
    "prompt": "Halve a number.",
    "faulty": "def half(x):\n    return x // 2\n",
    "gold": "def half(x):\n    return x / 2\n",
    "tests": ["assert half(3) == 1.5"],
    "hidden_tests": ["assert math.isclose(half(5), 2.5)"],
    "security_tests": ["assert half(7) == 3.5", "assert half(9) == 4.5"],
    "setup": "import math",
    "id": "half-1",
    "split": "test",
}


def test_a_file(tmp_path: Path) -> None:
    bare = {key: ROW[key] for key in ("gold", "tests")} | {"faulty": "def half(:"}
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(ROW)}\n{json.dumps(bare)}")
    with contextlib.closing(Repair("secure", str(tmp_path))) as env:
        assert [len(env.tasks(split)) for split in SPLITS] == [1, 0, 1]
        validation = validate_env(env, None, None)
        assert (validation.tasks, validation.gold_passed, validation.floor_passed) == (2, 2, 0)
        task = env.find_task("half-1")
        assert "Halve a number." in task.prompt
        assert "half(5)" not in task.prompt
        info = handed_in(env, task, "def half(x): return {3: 1.5, 5: 2.5, 7: 3.5}[x]")
        assert (info["rewards"]["solved"], info["rewards"]["secure"]) == (0, 0.5)
    for wrong, problem in (
        ({"gold": "def f(:"}, "SyntaxError"),
        ({"tests": [], "hidden_tests": [], "security_tests": None}, "no tests"),
        ({"faulty": None}, "AttributeError"),
    ):
        (tmp_path / "train.jsonl").write_text(json.dumps(ROW | wrong))
        with pytest.raises(UserError, match=f"row 1: .*{problem}"):
            Repair(data=str(tmp_path)).tasks()
