"""How many episodes in flight are worth it: found while they are played.

Throughput grows with the number of episodes in flight up to a knee, where the sampler's batch is full or the environments' cores
are busy; beyond it, episodes only wait for each other and use memory. The number is doubled as long as that brings more
turns a second, measured over several turns of every episode in flight.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

START, MOST = 32, 1024
GAIN = 1.1  # a doubling that brings less than this is not worth it
TURNS, SECONDS = 4, 0.5  # a measurement lasts this many turns for each episode in flight, and at least so long


@dataclass
class Knee:
    """The search, and what it found.

    Attributes:
        rates: Turns per second by the number of episodes in flight, as measured.
        found: The knee, once it was reached; the number of episodes in flight stays there.
    """

    rates: dict[int, float] = field(default_factory=dict)
    found: int | None = None

    async def find(self, turns: Callable[[], int], resize: Callable[[int], None]) -> None:
        """Double until it no longer pays.

        Args:
            turns: Turns taken so far.
            resize: Sets the number of episodes in flight.
        """
        size = START
        while True:
            resize(size)
            await self._measure(size, turns)
            if not self._pays(size):
                await self._measure(size, turns)  # once more: other work on the machine may have been to blame
            if not self._pays(size):
                break
            if size == MOST:
                break
            size *= 2
        self.found = max(n for n in self.rates if self._pays(n))
        resize(self.found)

    def _pays(self, size: int) -> bool:
        return self.rates[size] >= GAIN * self.rates.get(size // 2, 0.0)

    async def _measure(self, size: int, turns: Callable[[], int]) -> None:
        await _until(turns, turns() + size, 0.0)  # those that have just been added are on their way
        first, began = turns(), time.perf_counter()
        await _until(turns, first + TURNS * size, SECONDS)
        rate = (turns() - first) / (time.perf_counter() - began)
        self.rates[size] = max(self.rates.get(size, 0.0), rate)


async def _until(turns: Callable[[], int], goal: int, seconds: float) -> None:
    began = time.perf_counter()
    while turns() < goal or time.perf_counter() - began < seconds:
        await asyncio.sleep(0.02)
