"""Programming problems of our own: a list of numbers goes through steps, and something is made of what is left.

Each step is said in words and written in Python; the tests are what the written steps give for random lists. Every solution is a
short program of its own, so a task's identity is its solution.
"""

import functools
import random
from collections.abc import Callable
from types import CodeType

import msgspec

from agentgym import Task

from .problems import Problem

LEVELS = {"easy": 1, "medium": 2, "hard": 3}  # steps before the last
VISIBLE, HIDDEN = 2, 6
Step = tuple[str, str]  # in words, and as an expression of `numbers`

STEPS: tuple[Callable[[int], Step], ...] = (
    lambda k: (f"keeps only those divisible by {k}", f"[n for n in numbers if n % {k} == 0]"),
    lambda k: (f"leaves out those divisible by {k}", f"[n for n in numbers if n % {k} != 0]"),
    lambda k: (f"keeps only those greater than {k}", f"[n for n in numbers if n > {k}]"),
    lambda k: (f"keeps only those less than {3 * k}", f"[n for n in numbers if n < {3 * k}]"),
    lambda k: (f"keeps only those whose absolute value is at least {k}", f"[n for n in numbers if abs(n) >= {k}]"),
    lambda k: (f"adds {k} to each", f"[n + {k} for n in numbers]"),
    lambda k: (f"multiplies each by {k}", f"[n * {k} for n in numbers]"),
    lambda k: (f"replaces each by its remainder after division by {k}", f"[n % {k} for n in numbers]"),
    lambda k: (f"replaces each by its distance from {k}", f"[abs(n - {k}) for n in numbers]"),
    lambda k: (f"drops the first {k}", f"numbers[{k}:]"),
    lambda k: (f"keeps only the last {k}", f"numbers[-{k}:]"),
    lambda k: (f"keeps every {k}th, beginning with the first", f"numbers[::{k}]"),
    lambda k: (f"puts those less than {k} before all others, otherwise in the same order",
               f"sorted(numbers, key=lambda n: n >= {k})"),
    lambda _: ("squares each", "[n * n for n in numbers]"),
    lambda _: ("sorts them in ascending order", "sorted(numbers)"),
    lambda _: ("reverses their order", "numbers[::-1]"),
    lambda _: ("removes duplicates, keeping the first of each", "list(dict.fromkeys(numbers))"),
    lambda _: ("replaces each by the sum of itself and all before it", "[sum(numbers[: i + 1]) for i in range(len(numbers))]"),
    lambda _: ("replaces each but the first by its difference from the one before and drops the first",
               "[b - a for a, b in zip(numbers, numbers[1:])]"),
)  # fmt: skip
ENDS: tuple[Callable[[int], Step], ...] = (
    lambda _: ("returns the list", "numbers"),
    lambda _: ("returns their sum", "sum(numbers)"),
    lambda _: ("returns how many there are", "len(numbers)"),
    lambda _: ("returns the largest, or None if there is none", "max(numbers, default=None)"),
    lambda _: ("returns the smallest, or None if there is none", "min(numbers, default=None)"),
    lambda _: ("returns the difference between the largest and the smallest, or 0 if there is none",
               "max(numbers) - min(numbers) if numbers else 0"),
    lambda k: (f"returns whether any of them is greater than {k}", f"any(n > {k} for n in numbers)"),
    lambda k: (f"returns how often {k} occurs", f"numbers.count({k})"),
    lambda k: (f"returns the sum of their last digits, each from its absolute value, plus {k}",
               f"sum(abs(n) % 10 for n in numbers) + {k}"),
    lambda _: ("returns a dictionary that says how often each number occurs", "{n: numbers.count(n) for n in numbers}"),
    lambda _: ("returns them as text, joined by commas without spaces", "','.join(map(str, numbers))"),
)  # fmt: skip
NAMES = ("solve", "transform", "process", "compute", "evaluate", "convert", "reduce_numbers", "work_out")


def make_task(rng: random.Random, level: str) -> Task:
    """A task whose tests tell the solution from programs without one of its steps."""
    while True:
        steps = [rng.choice(STEPS)(rng.randint(2, 9)) for _ in range(LEVELS[level])]
        steps.append(rng.choice(ENDS)(rng.randint(2, 9)))
        lists = [_numbers(rng) for _ in range(VISIBLE + HIDDEN)]
        values = [_result(steps, numbers) for numbers in lists]
        shorter = [steps[:i] + steps[i + 1 :] for i in range(len(steps) - 1)]
        if all(any(_result(s, n) != v for n, v in zip(lists, values, strict=True)) for s in shorter):
            break
    name = rng.choice(NAMES)
    tests = tuple(f"assert {name}({n}) == {v!r}" for n, v in zip(lists, values, strict=True))
    gold = _program(name, steps)
    problem = Problem(gold, (name,), tests[:VISIBLE], tests[VISIBLE:])
    return Task(_prompt(name, steps, tests[:VISIBLE]), msgspec.to_builtins(problem), difficulty=level)


def _numbers(rng: random.Random) -> list[int]:
    return [rng.randint(-20, 40) for _ in range(rng.choice((0, 1, 4, 6, 8, 10)))]


def _result(steps: list[Step], numbers: list[int]) -> object:
    value: object = numbers
    for _, expression in steps:
        value = eval(_compiled(expression), {"numbers": value})  # all expressions stand above
    return value


@functools.cache
def _compiled(expression: str) -> CodeType:
    return compile(expression, "<step>", "eval")


def _program(name: str, steps: list[Step]) -> str:
    lines = [f"    numbers = {expression}" for _, expression in steps[:-1]]
    return "\n".join([f"def {name}(numbers):", *lines, f"    return {steps[-1][1]}", ""])


def _prompt(name: str, steps: list[Step], tests: tuple[str, ...]) -> str:
    words = [text for text, _ in steps]
    said = f"{', then '.join(words[:-1])}, and then {words[-1]}"
    shown = "\n".join(tests)
    return f"Write a function `{name}(numbers)` that takes a list of integers, {said}.\nIt should pass tests like these:\n{shown}"
