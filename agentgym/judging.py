"""Judges: models that read what was done and say how well.

What a judge says is no fact: one that gives no verdict is asked again, and where it never gives one there is none. That is
never a reward of 0.
"""

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from agentgym.errors import SamplerFailure
from agentgym.messages import user
from agentgym.partners import Model

ATTEMPTS = 3
_NUMBER = re.compile(r"(?<![\d.])-?\d+(?:\.\d+)?")
T = TypeVar("T")


async def asked(judge: Model, question: str, read: Callable[[str], T | None], identity: str, instructions: str = "") -> T | None:
    """What a judge says, asked up to `ATTEMPTS` times; None where it says nothing that can be read.

    Args:
        judge: Who is asked.
        question: All that it is shown.
        read: The verdict in an answer; None where there is none.
        identity: Names what is judged: the same has the same seeds.
        instructions: The system message; empty for none.

    Raises:
        UserError: its server refuses all requests.
    """
    for attempt in range(ATTEMPTS):
        try:
            answer = await judge.answer(instructions, [user(question)], zlib.crc32(f"{identity}/{attempt}".encode()))
        except SamplerFailure:
            continue
        if (verdict := read(answer)) is not None:
            return verdict
    return None


async def together(*waiting: Awaitable[T]) -> list[T]:
    """The results of several at once; when all are through, the first that failed is raised."""
    done = await asyncio.gather(*waiting, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return done  # type: ignore[return-value]  # none of them is an exception


def rating(text: str, least: float, most: float) -> float | None:
    """The last number of an answer, if it lies between `least` and `most`, as a number in [0, 1]."""
    return _share(_NUMBER.findall(text), least, most)


def bracketed(text: str, least: float, most: float) -> float | None:
    """The last number in double square brackets, as `rating`: the form in which MT-Bench's judges answer."""
    return _share(re.findall(r"\[\[\s*(\d+(?:\.\d+)?)\s*\]\]", text), least, most)


def choice(text: str, options: Iterable[str]) -> str | None:
    """The last of the options in double square brackets, such as ``[[A]]``."""
    found = re.findall(r"\[\[(\w+)\]\]", text)
    return found[-1] if found and found[-1] in tuple(options) else None


def _share(found: list[str], least: float, most: float) -> float | None:
    number = float(found[-1]) if found else float("nan")
    return (number - least) / (most - least) if least <= number <= most else None
