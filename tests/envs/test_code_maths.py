"""code/Maths-v0: conformance, the session and its states, which answers count, GSM8K's format."""

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym import Task, UserError, assistant, call
from agentgym.checks import check_env
from agentgym.tasks import SPLITS
from agentgym_envs.code import answers
from agentgym_envs.code.answers import equal, normal, stated
from agentgym_envs.code.maths import Maths, convert
from agentgym_envs.code.stories import LEVELS, make_task

TASK = Task("How many?", {"answer": "1,800", "steps": ["18 * 100"]}, "x")


@pytest.fixture(scope="module")
def env() -> Iterator[Maths]:
    made = Maths()
    yield made
    made.close()


def run(env: Maths, *actions: Any) -> tuple[list[str], dict[str, Any]]:
    env.reset(seed=0, options={"task": TASK})
    texts, info = [], {}
    for action in actions:
        observation, *_, info = env.step(action)
        texts += [m.content for m in observation.messages]
    return texts, info


def cell(code: str) -> Any:
    return assistant("", call("python", code=code))


def test_conformance() -> None:
    assert not [check for check in check_env("code/Maths-v0", tasks=1) if not check.ok]


def test_a_session(env: Maths) -> None:
    texts, info = run(env, cell("x = 18"), cell("x * 100"), cell("y"), assistant("", call("answer", value="1800")))
    assert texts[0] == "(no output)"
    assert texts[1] == "1800"
    assert "NameError: name 'y' is not defined" in texts[2]
    assert info["success"]
    assert info["rewards"] == {"solved": 1.0, "stated": 1.0, "calculated": 1.0}
    texts, _ = run(env, cell("x"))
    assert "NameError" in texts[0]


def test_cells_that_take_too_much(env: Maths, monkeypatch: pytest.MonkeyPatch) -> None:
    env.close()
    monkeypatch.setattr(Maths, "limits", env.limits.__class__(seconds=1.0, memory=64 << 20))
    texts, _ = run(
        env, cell("x = 1"), cell("while True: pass"), cell("x"), cell("[b'x' * (1 << 20) + bytes([i % 256]) for i in range(300)]")
    )
    assert texts[1] == "This took too long; the session begins anew."
    assert "NameError" in texts[2]
    assert "too much memory" in texts[3]
    env.close()


def test_returning_to_a_state(env: Maths) -> None:
    run(env, cell("x = [1]; open('f', 'w').write('kept')"))
    state, key = env.snapshot(), env.state_key()
    assert env.step(cell("x.append(2); x"))[0].messages[0].content == "[1, 2]"
    env.restore(state)
    assert env.state_key() == key
    assert env.step(cell("x.append(3); x, open('f').read()"))[0].messages[0].content == "([1, 3], 'kept')"
    other = Maths()
    other.restore(state)
    assert other.step(cell("x"))[0].messages[0].content == "[1]"
    other.close()


RIGHT = [
    "1800",
    "1,800",
    " 1800.0 ",
    "$1800",
    "1800 dollars",
    "1800.",
    "#### 1800",
    "So 7.\n#### 1,800",
    r"\boxed{1800}",
    r"It is $\boxed{1800}$ of 20.",
    "3600/2",
    r"\frac{3600}{2}",
]
WRONG = [
    "", "1801", "-1800", "1800 1800", "1800 or 1801", "1800 or nineteen", "The answer is 1800", "1, 800", "18", "180", "18000", "1800%", "x = 1800", "17 1800",
    "#### 1800 #### 7", "#### 1800\n#### 7", r"\boxed{7} \boxed{8}", "1800" * 30, "9**9**9**9", "1e3", "1.8e3", "nan", "inf", "1800!", "1800 apples and two more trees", "0x708", "\u00b2", "\u0967\u096e\u0966\u0966x",
]  # fmt: skip


@pytest.mark.parametrize("answer", RIGHT)
def test_right_answers(env: Maths, answer: str) -> None:
    assert run(env, assistant(answer))[1]["success"]


@pytest.mark.parametrize("answer", WRONG)
def test_wrong_answers(env: Maths, answer: str) -> None:
    assert not run(env, assistant(answer))[1]["success"]
    assert not run(env, assistant("", call("answer", value=answer)))[1]["success"]


def test_equal_values() -> None:
    for one, other in (("0.5", "1/2"), ("20%", "20 %"), ("-3", "\u22123"), ("2.50", "2.5"), ("10", "10.0")):
        assert equal(one, other), (one, other)
    for one, other in (("0.5", "0.49"), ("20%", "0.2"), ("20%", "20"), ("5", "x"), ("1/0", "5")):
        assert not equal(one, other), (one, other)
    assert normal("$ 1,234.50 dollars") == "1234.50"
    assert stated("a #### 5 apples\n") == "5 apples"


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    answers._library.cache_clear()
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(UserError, match=r"pip install 'agentgym\[maths\]'"):
        equal("1", "1")


def test_problems_of_our_own() -> None:
    rng = random.Random(0)
    for level, count in LEVELS.items():
        for _ in range(50):
            task = make_task(rng, level)
            assert len(task.data["steps"]) == count
            assert str(eval(task.data["steps"][-1])) == task.data["answer"]
    with pytest.raises(UserError, match="there is no level 'no'"):
        Maths(level="no")


def test_gsm8k_format(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "He has 20%*5=<<20%*5=1>>1.\nThen <<1+2=3>>3 and <<3*(=9>>.\n#### 3"}
    assert convert(row, "train").data == {"answer": "3", "steps": ["1+2"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    (tmp_path / "test.jsonl").write_text(json.dumps(row | {"question": "x", "answer": "#### none at all"}))
    env = Maths(str(tmp_path))
    assert [len(env.tasks(split)) for split in SPLITS] == [1, 0, 1]
    (tmp_path / "train.jsonl").write_text(json.dumps(row | {"answer": "3"}))
    with pytest.raises(UserError, match="row 1: ValueError: the answer has no ####"):
        env.tasks()


@pytest.mark.skipif("AGENTGYM_DATA" not in os.environ, reason="AGENTGYM_DATA is not set")
def test_gsm8k() -> None:
    env = Maths(f"{os.environ['AGENTGYM_DATA']}/gsm8k")
    assert [len(env.tasks(split)) for split in SPLITS] == [7473, 0, 1319]
    for task in [*env.tasks("train")[::100], *env.tasks("test")[::40]]:
        gold = task.data["answer"]
        number = float(gold.replace(",", ""))
        assert equal(gold, gold)
        for wrong in (f"{number + 1}", f"{number - 0.01}", f"{gold} {gold}", f"It is {gold}", f"{gold}%", f"{10 * number + 1}"):
            assert not equal(wrong, gold), (wrong, gold)
