"""bench-sync: from the acknowledgement of a write until the caches of all other robots have it.

The other robots are processes of their own. And how long a robot takes to catch up after a lost connection, and to warm
up with a full working set.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import uvloop

from benchmarks import catch_up, linked
from benchmarks.harness import load, machine, options, postgres, report
from benchmarks.harness.figures import Figures, median_of_rounds, percentile, rotated
from benchmarks.harness.processes import Child, children

KEYS = (
    "r100_p50_ms", "r100_p99_ms", "r1000_p50_ms", "r1000_p99_ms", "catch_up_10000_ms", "warm_up_ms",
)  # fmt: skip
ROUNDS = 5
RATES = (100, 1000)
LISTENERS, KEY_LISTENERS, QUICK_LISTENERS = (2, 8, 32), 8, (2,)
OTHER_ROUNDS = 2  # for the numbers of listeners that have no key
SECONDS, QUICK_SECONDS = 2.0, 0.3
IN_FLIGHT = 64
WARM_UP, QUICK_WARM_UP = 400, 20
REACHED = 0.9  # of the rate: below, the figure would be of another rate


@dataclass
class Pair:
    """A contender's writer here and its listeners in their processes."""

    link: linked.Link
    listeners: Sequence[Child]
    numbers: Iterator[int] = field(default_factory=count)

    async def turn(self, rate: float, seconds: float) -> tuple[float, list[float]]:
        """Writes at a rate: the rate that was reached, and of each write the milliseconds until all had it."""
        acknowledged: list[tuple[int, int]] = []

        async def call(number: int) -> None:
            value = await self.link.write(number)
            acknowledged.append((value, time.monotonic_ns()))

        reached = await load.paced(call, self.numbers, rate=rate, seconds=seconds, in_flight=IN_FLIGHT)
        goal = self.link.goal()
        seen = [linked.noted(await child.ask(str(goal))) for child in self.listeners]
        return reached, [
            (max(arrival(noted, value, exact=self.link.exact) for noted in seen) - at) / 1e6
            for value, at in acknowledged
        ]


def arrival(noted: Sequence[tuple[int, int]], value: int, *, exact: bool) -> int:
    """When ``value`` was there: noted itself, or (a cache at a revision has all before it) with the first one after it.

    Raises:
        LookupError: it never came.

    """
    if exact:
        return dict(noted)[value]
    place = bisect.bisect_left(noted, (value, 0))
    if place == len(noted):
        raise LookupError(f"a listener has not seen {value}")
    return noted[place][1]


@asynccontextmanager
async def pairs(server: postgres.Server, listeners: int, chosen: options.Options) -> AsyncIterator[dict[str, Pair]]:
    """The writers with so many listeners each."""
    async with AsyncExitStack() as stack:
        made = {}
        for name, opener in linked.links(chosen.peers).items():
            link = await stack.enter_async_context(opener(server.database(name), listeners))
            started = await stack.enter_async_context(
                children("benchmarks.listener", [(name, link.dsn, link.group, robot) for robot in link.robots])
            )
            made[name] = Pair(link, started)
            await made[name].turn(1e6, (QUICK_WARM_UP if chosen.quick else WARM_UP) / 1e6)
        yield made


async def announcing(server: postgres.Server, listeners: int, chosen: options.Options) -> dict[str, list[Figures]]:
    """The rounds of each contender with so many listeners, at each rate."""
    rounds: dict[str, list[Figures]] = {}
    prefix = "" if chosen.quick or listeners == KEY_LISTENERS else f"listeners{listeners}_"
    number_of_rounds = chosen.rounds if listeners == KEY_LISTENERS else min(chosen.rounds, OTHER_ROUNDS)
    async with pairs(server, listeners, chosen) as made:
        for number in range(number_of_rounds):
            for name in rotated(list(made), number):
                figures: dict[str, float | None] = {}
                for rate in RATES:
                    reached, took = await made[name].turn(rate, QUICK_SECONDS if chosen.quick else SECONDS)
                    kept_up = reached >= REACHED * rate
                    figures[f"{prefix}r{rate}_reached_per_s"] = reached
                    figures[f"{prefix}r{rate}_p50_ms"] = percentile(took, 50) if kept_up else None
                    figures[f"{prefix}r{rate}_p99_ms"] = percentile(took, 99) if kept_up else None
                rounds.setdefault(name, []).append(figures)
    return rounds


async def run(chosen: options.Options) -> None:
    """Announcements, then catching up and warming up."""
    with postgres.server() as server:
        facts = machine.facts(server.settings())
        details: dict[str, list[Figures]] = {}
        for listeners in QUICK_LISTENERS if chosen.quick else LISTENERS:
            report.say(f"{listeners} listening processes, {RATES[0]} and {RATES[1]} writes a second")
            for name, rounds in (await announcing(server, listeners, chosen)).items():
                details.setdefault(name, []).extend(rounds)
        report.say("catch up with 10,000 changes; warm up with 32,000 tokens")
        for name, rounds in (await catch_up.compare(server, chosen)).items():
            details.setdefault(name, []).extend(rounds)
    measured = {name: median_of_rounds(rounds) for name, rounds in details.items()}
    report.publish(report.result("sync", KEYS, measured, chosen.peers, facts), chosen, measured, details)


def main() -> None:
    """Reads the command line and runs."""
    chosen = options.parse("sync", __doc__ or "", rounds=ROUNDS)
    uvloop.run(run(chosen))


if __name__ == "__main__":
    main()
