"""A closed load: so many callers, each of which asks again as soon as it was answered. Bounded in time and count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True)
class Measured:
    """Milliseconds of each call, and calls a second over all callers."""

    latencies_ms: tuple[float, ...]
    per_s: float


async def closed(
    call: Callable[[int], Awaitable[None]], numbers: Iterator[int], *, callers: int, seconds: float, count: int
) -> Measured:
    """Lets ``callers`` call with the next number each, for so many seconds, at most ``count`` times in all.

    An error of a call ends the load and is raised.
    """
    latencies: list[float] = []
    bounded = islice(numbers, count)
    started = time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() - started < seconds:
            number = next(bounded, None)
            if number is None:
                return
            at = time.perf_counter()
            await call(number)
            latencies.append((time.perf_counter() - at) * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return Measured(tuple(latencies), len(latencies) / (time.perf_counter() - started))


async def paced(
    call: Callable[[int], Awaitable[None]], numbers: Iterator[int], *, rate: float, seconds: float, in_flight: int
) -> float:
    """Starts calls at a steady rate, whether or not the ones before were answered; returns the rate that was reached.

    At most ``in_flight`` are unanswered at once: who cannot keep up is asked more slowly, and no longer than for twice
    ``seconds``. An error of a call is raised.
    """
    started = time.perf_counter()
    free = asyncio.Semaphore(in_flight)
    count = round(rate * seconds)
    asked = 0

    async def one(number: int) -> None:
        try:
            await call(number)
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        for place, number in enumerate(islice(numbers, count)):
            ahead = started + place / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            await free.acquire()
            if time.perf_counter() - started > 2 * seconds and asked:
                break
            group.create_task(one(number))
            asked += 1
    return asked / (time.perf_counter() - started)
