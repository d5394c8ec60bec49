"""Programming problems: the formats of MBPP and HumanEval, and what an exam of an answer is.

MBPP (Austin et al. 2021, arXiv:2108.07732): ``text``, ``code``, ``test_list``, ``test_setup_code`` (runs after the program: two
tasks build on its classes), ``challenge_test_list``; the sanitized variant says ``prompt`` and ``test_imports``. Splits go by
``task_id``: 11-510 test, 511-600 validation, 601-974 train; 1-10, meant for few-shot prompts, count as validation. The first test
is shown, the others are hidden.

HumanEval (Chen et al. 2021, arXiv:2107.03374): ``prompt``, ``canonical_solution``, ``test`` (a function ``check``) and
``entry_point``; all are test tasks. The examples of the docstring are shown, ``check`` is hidden; what else the prompt defines
stays trusted.
"""

import ast
import doctest
import warnings
from collections.abc import Iterable
from typing import Any

import msgspec

from agentgym import Task
from agentgym.sandbox import Exam

from .rows import Row, split_by_hash


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem; the data of a task.

    Attributes:
        gold: A program that solves it.
        names: What the tests take from the program.
        visible: Tests that the agent may see and run.
        hidden: Tests that decide.
        setup: Runs before the tests, beside them.
        before: Runs before the agent's program, as its beginning.
    """

    gold: str
    names: tuple[str, ...]
    visible: tuple[str, ...]
    hidden: tuple[str, ...]
    setup: str = ""
    before: str = ""

    def exam(self, program: str, hidden: bool) -> Exam:
        """The exam of a program, with the visible tests or with all."""
        tests = self.visible + self.hidden if hidden else self.visible
        separator = "" if program[:1] in (" ", "\t") else "\n"  # a bare function body goes on where the prompt ends
        whole = f"{self.before}{separator}{program}" if self.before else program
        return Exam(whole, self.names, tests, self.setup)


def convert(row: Row, named: str) -> Task:
    """A row of either format as a task.

    Raises:
        KeyError, TypeError, ValueError, SyntaxError: it is a row of neither.
    """
    return _humaneval(row) if "entry_point" in row else _mbpp(row, named)


def _mbpp(row: Row, named: str) -> Task:
    gold, tests = _unix(row["code"]), [_unix(t) for t in row["test_list"]]
    tests += map(_unix, row.get("challenge_test_list") or ())
    after = _unix(row.get("test_setup_code") or "")
    if not tests:
        raise ValueError("no tests")
    if after:
        tests[0] = f"{after}\n{tests[0]}"
    imports = "\n".join([*_imports(gold), *map(_unix, row.get("test_imports") or ())])
    problem = Problem(gold, names_used(gold, tests), (tests[0],), tuple(tests[1:]), imports)
    text = _unix(row["text"] if "text" in row else row["prompt"])
    number = row["task_id"]
    split = _mbpp_split(number) or named or split_by_hash(f"{text}{gold}")
    prompt = f"{text.strip()}\nYour program should pass tests like this one:\n{tests[0].strip()}"
    return Task(prompt, msgspec.to_builtins(problem), f"mbpp-{number}", split, difficulty(gold))


def _humaneval(row: Row) -> Task:
    before, entry = _unix(row["prompt"]), row["entry_point"]
    gold = before + _unix(row["canonical_solution"])
    if entry not in _defined(gold):
        raise ValueError(f"the solution does not define {entry!r}")
    hidden = f"{_unix(row['test'])}\ncheck({entry})"
    problem = Problem(gold, (entry,), _examples(before, entry), (hidden,), before, before)
    prompt = f"Complete this function; give the whole of it.\n{before}"
    return Task(prompt, msgspec.to_builtins(problem), str(row["task_id"]), "test", difficulty(gold))


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def _mbpp_split(number: Any) -> str:
    if not isinstance(number, int) or not 1 <= number <= 974:
        return ""
    return "test" if 11 <= number <= 510 else "train" if number >= 601 else "validation"


def parsed(program: str) -> ast.Module:
    """The syntax tree; what Python only warns of, escapes that it does not know, is not our affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(program)


def names_used(program: str, tests: Iterable[str]) -> tuple[str, ...]:
    """What tests take from a program."""
    used = {n.id for test in tests for n in ast.walk(parsed(test)) if isinstance(n, ast.Name)}
    return tuple(name for name in _defined(program) if name in used)


def _defined(program: str) -> tuple[str, ...]:
    """The names that a program defines, but for what it imports."""
    found: list[str] = []
    for node in parsed(program).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            found += [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return tuple(dict.fromkeys(found))


def _imports(program: str) -> list[str]:
    """A program's imports, as statements that do no harm where a module is missing."""
    found = [ast.unparse(n) for n in parsed(program).body if isinstance(n, ast.Import | ast.ImportFrom)]
    return [f"try: {line}\nexcept ImportError: pass" for line in found]


def _examples(prompt: str, entry: str) -> tuple[str, ...]:
    """The examples of a docstring as tests, where what they expect is a plain value."""
    function = next(n for n in parsed(prompt).body if isinstance(n, ast.FunctionDef) and n.name == entry)
    tests = []
    try:
        examples = doctest.DocTestParser().get_examples(ast.get_docstring(function) or "")
    except ValueError:  # an example that is none
        return ()
    for example in examples:
        try:
            call, expected = ast.parse(example.source.strip(), mode="eval"), ast.literal_eval(example.want.strip())
        except (ValueError, SyntaxError):
            continue
        tests.append(f"assert {ast.unparse(call)} == {expected!r}")
    return tuple(tests)


def difficulty(program: str) -> str:
    """By the size of the solution's syntax tree; thirds of MBPP."""
    size = sum(1 for _ in ast.walk(parsed(program)))
    return "easy" if size < 45 else "medium" if size < 80 else "hard"
