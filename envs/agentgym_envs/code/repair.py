"""``code/Repair-v0``: a program with one fault fails its tests; mend it, by as small a change as can be if that is asked.

A file of such programs is JSON lines, or an array, of objects with

====================  ==========================================================================
``faulty``, ``gold``  the program and what it should be; the gold one has to compile
``tests``             statements that it should pass; shown
``hidden_tests``      the same, not shown (optional)
``security_tests``    attacks that the gold program withstands, not shown (optional)
``setup``             trusted code that runs before the tests, such as imports (optional)
``prompt``            what the program is to do (optional)
``id``, ``split``     the task's id and split (optional; a hash of the row decides)
====================  ==========================================================================
"""

import ast
import difflib
import hashlib
import itertools
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from agentgym import Rubric, Task, Tasks, UserError, procedural
from agentgym.sandbox import Report

from . import weaknesses
from .box import code_of
from .problems import Problem, difficulty, names_used, parsed
from .python import Python
from .rows import Row, split_by_hash, tasks_of

SWAPS: dict[type, type] = {
    ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.FloorDiv,
}  # fmt: skip
CALLS = {"sum": "len", "len": "sum", "max": "min", "min": "max", "any": "all", "sorted": "list"}
APART = 10**9  # from a program without such a fault to the one that is taken instead
WANTED = {
    "tests": Rubric(solved=1.0, small=0.0),
    "compiles": Rubric(solved=0.5, compiles=0.5),
    "small": Rubric(solved=0.5, small=0.5),
    "secure": Rubric(solved=0.5, secure=0.5),
}


class Repair(Python):
    """Mend a Python program that has one fault; tests show it, hidden tests decide.

    Solved means that the program handed in passes all tests, attacks included. What else can be asked for is half of the reward
    then: that it `compiles`, which the faulty one does not; that the change is `small` (the smallest possible number of changed
    lines over the number that were changed, 0 for a program that fails); that it is `secure` (the share of attacks that it
    withstands, 0 for a program that fails another test).

    Args:
        wanted: What is asked for: "tests" (any program that passes), "compiles", "small" or "secure".
        data: A file or directory of faulty programs (see the module); None for some of our own, endless.
        level: Of programs of our own: "easy", "medium", "hard"; None mixes all three.
        sandbox: "local" or "docker".

    Raises:
        UserError: an unknown property, level or sandbox.
    """

    instructions = (
        "Mend the program. Run the tests with the tool `test`, then hand the whole program in with the tool `submit`: "
        "further tests will decide."
    )

    def __init__(self, wanted: str = "tests", data: str | None = None, level: str | None = None, sandbox: str = "local") -> None:
        super().__init__(data, level, sandbox)
        if wanted not in WANTED:
            raise UserError(f"code/Repair-v0 cannot ask for {wanted!r}: use one of {', '.join(WANTED)}")
        self.wanted = wanted
        self.rubric = WANTED[wanted]

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the file, or endless ones: programs of our own, each with a fault that a visible test or an attack shows."""
        if self.data is not None:
            return tasks_of(self.data, convert, split)
        if self.wanted == "secure":
            return procedural(self._weak, split, same=lambda task: task.data["gold"])
        wholes, faults = super().tasks(split), _broken if self.wanted == "compiles" else _faults

        def faulty(i: int) -> Task:
            found = next(filter(None, (_faulty(wholes[j], faults) for j in range(i, sys.maxsize, APART))))
            return msgspec.structs.replace(found, id=f"{split}-{i}")

        return Tasks(faulty, range(sys.maxsize))

    def _weak(self, rng: random.Random) -> Task:
        return weaknesses.make_task(rng, rng.choice(self.levels))

    def begin(self, task: Task) -> str:
        """Nothing tried yet."""
        opening = super().begin(task)
        return f"{opening}\nChange as few lines as you can." if self.wanted == "small" else opening

    def score(self, answer: str) -> Mapping[str, float]:
        """The tests, and how much was changed."""
        parts = dict(super().score(answer))
        faulty = self.task.data["faulty"]
        least, changed = changed_lines(faulty, self.problem.gold), changed_lines(faulty, code_of(answer))
        return parts | {"small": parts["solved"] * min(1.0, least / max(1, changed))}

    def parts(self, report: Report) -> dict[str, float]:
        """The attacks are the last tests."""
        failures = report.failures
        first = len(failures) - self.task.data.get("attacks", 0)
        withstood = sum(not failure for failure in failures[first:]) / max(1, len(failures) - first)
        secure = 1.0 if first == len(failures) else withstood
        return super().parts(report) | {"secure": secure * (report.loaded and not any(failures[:first]))}


def convert(row: Row, named: str) -> Task:
    """A row of a file as a task.

    Raises:
        KeyError, TypeError, ValueError, SyntaxError: it is none.
    """
    faulty, gold = row["faulty"], row["gold"]
    visible, attacks = tuple(row["tests"]), tuple(row.get("security_tests") or ())
    hidden = (*(row.get("hidden_tests") or ()), *attacks)
    if not visible + hidden:
        raise ValueError("no tests")
    parsed(gold)
    problem = Problem(gold, names_used(gold, visible + hidden), visible, hidden, row.get("setup") or "")
    identity = f"{faulty}{gold}"
    number = row.get("id") or hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
    prompt = _prompt(row.get("prompt") or "This program has a fault.", faulty, visible)
    data = msgspec.to_builtins(problem) | {"faulty": faulty, "attacks": len(attacks)}
    return Task(prompt, data, str(number), row.get("split") or named or split_by_hash(identity), difficulty(gold))


def _prompt(said: str, faulty: str, tests: Iterable[str]) -> str:
    shown = "\n".join(tests)
    return f"{said.strip()}\n\n{faulty.strip()}\n\nTests that it should pass:\n{shown}"


def changed_lines(before: str, after: str) -> int:
    """Lines that are new or different, or, where only lines are gone, those that are gone."""
    lines = [[line.rstrip() for line in text.strip().splitlines()] for text in (before, after)]
    blocks = difflib.SequenceMatcher(None, lines[0], lines[1], autojunk=False).get_opcodes()
    return sum(max(b - a, d - c) for kind, a, b, c, d in blocks if kind != "equal")


def _faulty(whole: Task, faults: Callable[[random.Random, str], Iterator[str]]) -> Task | None:
    """The task of mending a program that was right; None where no fault of these kinds shows in its visible tests."""
    problem = msgspec.convert(whole.data, Problem)
    gold = ast.unparse(ast.parse(problem.gold))
    faulty = next((f for f in faults(random.Random(gold), gold) if not _passes(f, problem.visible)), None)
    if faulty is None:
        return None
    asked = whole.prompt.partition("\n")[0].removeprefix("Write a function ")
    prompt = _prompt(f"Somebody was asked for a function {asked}\nIt has a fault:", faulty, problem.visible)
    data = msgspec.to_builtins(msgspec.structs.replace(problem, gold=gold)) | {"faulty": faulty}
    return msgspec.structs.replace(whole, prompt=prompt, data=data)


def _broken(rng: random.Random, program: str) -> Iterator[str]:
    """Programs that lack one sign without which they do not compile, in random order."""
    places = [i for i, sign in enumerate(program) if sign in "()[]:"]
    rng.shuffle(places)
    for place in places:
        broken = program[:place] + program[place + 1 :]
        try:
            parsed(broken)
        except SyntaxError:
            yield broken


def _faults(rng: random.Random, program: str) -> Iterator[str]:
    """Programs with one fault of the kinds above, in random order."""
    kinds = (ast.Compare, ast.BinOp, ast.Constant, ast.Name)
    places = [i for i, node in enumerate(ast.walk(ast.parse(program))) if isinstance(node, kinds)]
    rng.shuffle(places)
    for place in places:
        tree = ast.parse(program)
        if _spoilt(next(itertools.islice(ast.walk(tree), place, None))):
            yield ast.unparse(tree)


def _spoilt(node: Any) -> bool:
    """Put a fault into a node, if there is one for its kind."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += 1
    elif isinstance(node, ast.Name) and node.id in CALLS:
        node.id = CALLS[node.id]
    else:
        return False
    return True


def _passes(program: str, tests: tuple[str, ...]) -> bool:
    """Whether one of our own programs passes; nobody else's comes here."""
    namespace: dict[str, Any] = {}
    try:
        exec(program, namespace)
        for test in tests:
            exec(test, namespace)
    except Exception:  # whatever a fault makes of it
        return False
    return True
