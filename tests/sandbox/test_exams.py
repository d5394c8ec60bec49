"""Exams: what tests see, and programs that try to pass without solving anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.sandbox import Exam, Sandbox
from agentgym.sandbox.guest.values import decode, encode
from tests.sandbox.conftest import LIMITS

TESTS = ("assert add(1, 2) == 3", "assert add(-5, 5) == 0", "assert not add(0, 0)")
GOLD = "def add(a, b):\n    return a + b\n"


def passed(sandbox: Sandbox, program: str, tests: tuple[str, ...] = TESTS, names: tuple[str, ...] = ("add",)) -> int:
    return sandbox.examine(Exam(program, names, tests)).passed


def test_gold(sandbox: Sandbox) -> None:
    report = sandbox.examine(
        Exam(GOLD + "print('hello')", ("add",), (*TESTS, "assert add(1, 1) == 3", "assert add('a', 1) == 3"))
    )
    assert report.loaded
    assert report.passed == len(TESTS)
    assert report.failures[3] == "AssertionError: the left side is 2"
    assert 'File "<program>", line 2, in add' in report.failures[4]
    assert "TypeError: can only concatenate str" in report.failures[4]
    assert "candidate.py" not in report.failures[4]
    assert report.output == "hello\n"


def test_a_program_that_does_not_compile(sandbox: Sandbox) -> None:
    report = sandbox.examine(Exam("def add(:", ("add",), TESTS))
    assert not report.loaded
    assert "SyntaxError" in report.error
    assert len(report.failures) == len(TESTS)
    assert not report.passed


CHEATS = {
    "nothing": "",
    "comment": "# pass",
    "sys.exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "late exit": "import os\ndef add(a, b):\n    os._exit(0)",
    "exit in a thread": "import os, threading\nthreading.Timer(0.01, os._exit, (0,)).start()\ndef add(a, b):\n    import time\n    time.sleep(1)",
    "always equal": "class E:\n    def __eq__(self, o): return True\n    def __bool__(self): return False\n    def __ne__(self, o): return False\n    def __hash__(self): return 0\ndef add(a, b): return E()",
    "equal int": "class E(int):\n    def __eq__(self, o): return True\n    def __bool__(self): return False\ndef add(a, b): return E(99)",
    "equal str": "class E(str):\n    def __eq__(self, o): return True\ndef add(a, b): return E('x')",
    "magic class": "class add:\n    def __new__(cls, a, b): return object.__new__(cls)\n    def __eq__(self, o): return True",
    "builtins": "import builtins, operator\nfor n in ('isinstance', 'type', 'repr', 'len', 'sorted', 'eval', 'compile', 'AssertionError'):\n    setattr(builtins, n, lambda *a, **k: True)\noperator.eq = lambda a, b: True\ndef add(a, b): return 99",
    "assertion": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})\n__debug__ if True else 0\ndef add(a, b): return 99",
    "marker": "print('ok'); print('PASSED'); print('{\"loaded\": true, \"failures\": [\"\", \"\", \"\"]}')\ndef add(a, b): return 99",
    "excepthook": "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef add(a, b): raise ValueError",
    "frames": "import sys, gc\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for v in f.f_locals.values():\n            if isinstance(v, str) and 'assert' in v: return eval(v.split('==')[1])\n        f = f.f_back\n    for o in gc.get_objects():\n        if isinstance(o, (tuple, list)):\n            for v in o:\n                if isinstance(v, str) and 'assert add' in v: return eval(v.split('==')[1])\n    return 99",
    "forged answers": "import os\nfor fd in range(3, 64):\n    for _ in range(50):\n        data = repr(('ok', 3)).encode()\n        try: os.set_blocking(fd, False); os.write(fd, len(data).to_bytes(4, 'big') + data)\n        except OSError: pass\ndef add(a, b): return 99",
    "forged report": "import os, json\ndata = json.dumps({'loaded': True, 'error': '', 'failures': ['', '', '']}).encode()\nfor fd in range(64):\n    try: os.write(fd, data)\n    except OSError: pass\ndef add(a, b): return 99",
    "files": "import os, glob\nfor p in glob.glob('/guest/*') + glob.glob('/work/*') + glob.glob('/tmp/*'):\n    try: open(p, 'w').write('def examine(*a): return {}')\n    except OSError: pass\ndef add(a, b): return 99",
    "kill": "import os\nfor pid in (1, os.getppid(), -1):\n    try: os.kill(pid, 9)\n    except OSError: pass\ndef add(a, b): return 99",
    "fork": "import os\nos.fork(); os.fork()\ndef add(a, b): return 99",
    "huge answer": "def add(a, b): return 'x' * (1 << 27)",
    "deep answer": "def add(a, b):\n    x = []\n    for _ in range(100000): x = [x]\n    return x",
    "unreadable": "import builtins\nbuiltins.repr = lambda x: '[' * 100000\ndef add(a, b): return 99",
    "unreadable numbers": "import builtins\nbuiltins.repr = lambda x: \"('ok', ('dict', [(('list', []), 1)]))\"\ndef add(a, b): return 99",
    "raises odd": "class SystemExit(BaseException): pass\ndef add(a, b): raise SystemExit('0')",
    "raises names": "class E(BaseException): pass\nE.__name__ = 'GeneratorExit'\ndef add(a, b): raise E('x')",
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 20) + b'x')",
    "shadow": "def print(*a): return True\ndef all(*a): return True\ndef add(a, b): return 99",
}  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS)
def test_cheats(sandbox: Sandbox, cheat: str) -> None:
    assert passed(sandbox, CHEATS[cheat]) == 0
    assert passed(sandbox, GOLD) == len(TESTS)


def test_names_of_the_tests_own_stay_theirs(sandbox: Sandbox) -> None:
    program = "import math\nmath.isclose = lambda *a, **k: True\ndef sorted(x): return [1]\ndef f(x): return 99"
    tests = ("assert math.isclose(f(1), 1.0)", "assert sorted(f(1)) == [1]", "assert sorted([2, 1]) == [1, 2]")
    report = sandbox.examine(Exam(program, ("f",), tests, setup="import math"))
    assert [bool(f) for f in report.failures] == [True, True, False]


def test_a_name_that_is_missing_is_not_taken_from_the_setup(sandbox: Sandbox) -> None:
    report = sandbox.examine(Exam("x = 1", ("f",), ("assert f(1) == 1",), setup="def f(x): return x"))
    assert report.loaded
    assert "NameError" in report.failures[0]


def test_objects_of_the_programs_own(sandbox: Sandbox) -> None:
    program = """
class Node:
    def __init__(self, value):
        self.value, self.next = value, None
def total(node):
    return node.value + (total(node.next) if node.next else 0)
def numbers():
    yield from (1, 2)
def table():
    return {"a": [Node(7)], "b": {1, 2}, "c": (1.5, 2j, None, b"x", range(3))}
def keys(x):
    return lambda y: x + y
"""
    tests = (
        "n = Node(1)\nn.next = Node(2)\nassert total(n) == 3 and n.next.value == 2",
        "assert list(numbers()) == [1, 2]",
        "assert table()['a'][0].value == 7 and table()['b'] == {1, 2} and table()['c'] == (1.5, 2j, None, b'x', range(3))",
        "assert keys(3)(4) == 7",
        "assert len(str(Node(1))) > 5",
        "assert Node(1) == Node(1)",
        "assert Node(1)",
    )
    report = sandbox.examine(Exam(program, ("Node", "total", "numbers", "table", "keys"), tests))
    assert [bool(f) for f in report.failures] == [False] * 5 + [True, True]


def test_errors_are_of_the_class_that_was_raised(sandbox: Sandbox) -> None:
    program = "def f(x):\n    if x: raise ValueError('v')\n    raise type('Own', (Exception,), {})('o')"
    tests = (
        "try:\n    f(1)\n    assert False\nexcept ValueError as e:\n    assert str(e) == 'v'",
        "try:\n    f(0)\nexcept RuntimeError as e:\n    assert str(e) == 'Own: o'",
    )
    assert sandbox.examine(Exam(program, ("f",), tests)).passed == 2


def test_a_check_function_in_the_manner_of_humaneval(sandbox: Sandbox) -> None:
    test = "def check(candidate):\n    assert candidate(1) == 2\n    assert abs(candidate(1.5) - 2.5) < 1e-6\n    for i in range(50):\n        assert candidate(i) == i + 1\ncheck(inc)"
    assert passed(sandbox, "def inc(x):\n    return x + 1", (test,), ("inc",)) == 1
    assert passed(sandbox, "def inc(x):\n    return x + 1 if x < 40 else 0", (test,), ("inc",)) == 0


def test_time_ends_an_exam(brief: Sandbox) -> None:
    report = brief.examine(Exam("def add(a, b):\n    while True: pass", ("add",), TESTS))
    assert report.timed_out
    assert "too much time" in report.error
    assert not report.passed


def test_an_exam_leaves_nothing_in_the_session(sandbox: Sandbox) -> None:
    sandbox.execute("x = 5")
    assert passed(sandbox, GOLD) == 3
    assert sandbox.execute("x, 'add' in globals()").output == "(5, False)\n"
    assert LIMITS.seconds == sandbox.limits.seconds  # type: ignore[attr-defined]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.integers())
    ),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_back_as_they_are(value: object) -> None:
    def never(_: object) -> int:
        raise AssertionError("a plain value is no object")

    again = decode(eval(repr(encode(value, never))), never)
    assert again == value
    assert type(again) is type(value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda i: st.tuples(st.sampled_from(["dict", "list", "range", "object", "float", "type", "x"]), i | st.lists(i)),
        max_leaves=8,
    )
)
def test_what_is_no_encoded_value_is_refused_or_plain(data: object) -> None:
    try:
        decode(data, lambda number: number)
    except (ValueError, TypeError, OverflowError):
        return
