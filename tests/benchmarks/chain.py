"""The episode that every side of the benchmark plays, and the clock that measures every side.

Imports the standard library alone, since the peers run it in environments of their own.
"""

import json
import resource
import sys
import time
from collections.abc import Callable

NUMBERS = (3, 1, 4, 1, 5, 9)
CALLS = len(NUMBERS) - 1
SUM = str(sum(NUMBERS))
PROMPT = f"Add {', '.join(map(str, NUMBERS))}."
INSTRUCTIONS = "Add the numbers one after the other with the tool, then answer with the sum."


def arguments(turn: int, seen: str) -> dict[str, int]:
    """Of the call in this turn: the last result and the next number."""
    return {"a": int(seen) if turn else NUMBERS[0], "b": NUMBERS[turn + 1]}


def text(turn: int, seen: str) -> str:
    """The policy's turn for peers whose environments read text: five calls in the format of Hermes and Qwen, then the answer."""
    if turn == CALLS:
        return seen
    return f"<tool_call>{json.dumps({'name': 'add', 'arguments': arguments(turn, seen)})}</tool_call>"


def cpu_seconds() -> float:
    """User and system time of this process, all threads counted, and of those of its children that ended and were waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def per_cpu_second(run: Callable[[int], None], episodes: int) -> float:
    """Episodes per CPU-second of `run(episodes)`."""
    began = cpu_seconds()
    run(episodes)
    return round(episodes / (cpu_seconds() - began), 1)


def report(run: Callable[[int], None]) -> None:
    """A peer's `main`: play as many episodes as the command line says, print the speed as JSON, last."""
    run(1)  # imports and caches on first use are no part of an episode; ours are warm after the first round
    print(json.dumps(per_cpu_second(run, int(sys.argv[1]))))


def report_clock(run: Callable[[int], None]) -> None:
    """The same in seconds of the clock, for those whose work others do."""
    began = time.perf_counter()
    run(int(sys.argv[1]))
    print(json.dumps(round(int(sys.argv[1]) / (time.perf_counter() - began), 2)))
