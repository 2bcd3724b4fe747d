"""bench-remember: acknowledged memories a second, and how long one takes, by callers and groups.

Everybody writes the same texts to the same server in turns; the figures are medians over the rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count

import uvloop

from benchmarks import bare, http_robot, ours
from benchmarks.contenders import OpenWriter, Writer
from benchmarks.harness import load, machine, options, postgres, report
from benchmarks.harness.figures import Figures, median_of_rounds, percentile, rotated
from benchmarks.harness.texts import Text, text
from benchmarks.harness.vectors import embed
from robotgroups.models import GroupSettings

KEYS = (
    "c1_p50_ms", "c1_p99_ms", "c1_per_s", "c16_per_s", "c16_p99_ms", "c64_per_s", "groups100_c16_per_s",
    "http_c1_p50_ms", "http_c16_per_s",
)  # fmt: skip
ROUNDS = 5
SECONDS, QUICK_SECONDS = 1.4, 0.1
MOST = 25_000  # calls of one turn
WARM_UP, QUICK_WARM_UP = 500, 30
WARM_UP_SECONDS = 60.0
STOCK, QUICK_STOCK = 5000, 100
SERIES = "remember"


@dataclass(frozen=True)
class Workload:
    """So many callers over so many groups, and which figures come of it."""

    name: str
    callers: int
    groups: int

    def figures(self, measured: load.Measured) -> dict[str, float | None]:
        """All that a turn tells; KEYS chooses."""
        return {
            f"{self.name}_p50_ms": percentile(measured.latencies_ms, 50),
            f"{self.name}_p99_ms": percentile(measured.latencies_ms, 99),
            f"{self.name}_per_s": measured.per_s,
        }


WORKLOADS = (Workload("c1", 1, 1), Workload("c16", 16, 1), Workload("c64", 64, 1), Workload("groups100_c16", 16, 100))
QUICK_GROUPS = 12  # instead of 100
HTTP_1, HTTP_16 = Workload("http_c1", 1, 1), Workload("http_c16", 16, 1)


class Stock:
    """Texts made before anything is measured, each used again with another number at its end; their vectors likewise:
    to everybody who embeds, the model costs nothing.
    """

    def __init__(self, size: int) -> None:
        self._texts = [text(number, SERIES) for number in range(size)]
        self._words = [made.content.rpartition(" ")[0] for made in self._texts]
        self._vectors = {words: embed(words) for words in self._words}

    def text(self, number: int) -> Text:
        """The text of a number: no two are the same."""
        place = number % len(self._texts)
        return Text(number, f"{self._words[place]} {number}", self._texts[place].tag)

    def vector(self, content: str) -> list[float]:
        """The vector of a text of this stock."""
        return self._vectors[content.rpartition(" ")[0]]


def contenders(chosen: Sequence[str], stock: Stock) -> dict[str, OpenWriter]:
    """How each contender is opened; peers are imported only when they are asked for."""
    opened: dict[str, OpenWriter] = {"ours": ours.open_writer, "limit": bare.open_writer}
    if {"langgraph", "langgraph_index"} & set(chosen):
        from benchmarks.peers import langgraph_store  # noqa: PLC0415

        opened["langgraph"] = langgraph_store.open_writer
        opened["langgraph_index"] = langgraph_store.open_index_writer(stock.vector)
    if "mem0" in chosen:
        from benchmarks.peers import mem0_store  # noqa: PLC0415

        opened["mem0"] = mem0_store.open_writer(stock.vector)
    if "htm" in chosen:
        from benchmarks.peers import htm_replay  # noqa: PLC0415

        opened["htm"] = htm_replay.open_writer
    return {name: opener for name, opener in opened.items() if name in {"ours", "limit", *chosen}}


@dataclass
class Turns:
    """A contender under one workload; the numbers of its texts go on from turn to turn."""

    writer: Writer
    workload: Workload
    stock: Stock
    numbers: Iterator[int] = field(default_factory=count)

    async def take(self, seconds: float, most: int) -> load.Measured:
        """One turn."""

        async def call(number: int) -> None:
            await self.writer.remember(number % self.workload.groups, self.stock.text(number))

        return await load.closed(call, self.numbers, callers=self.workload.callers, seconds=seconds, count=most)


async def compare(
    server: postgres.Server, workload: Workload, stock: Stock, chosen: options.Options
) -> dict[str, list[Figures]]:
    """The rounds of all contenders under one workload, in turns; who begins changes with every round."""
    seconds, warm_up = (QUICK_SECONDS, QUICK_WARM_UP) if chosen.quick else (SECONDS, WARM_UP)
    rounds: dict[str, list[Figures]] = {}
    async with AsyncExitStack() as stack:
        turns: dict[str, Turns] = {}
        for name, opener in contenders(chosen.peers, stock).items():
            opened = opener(server.database(name), groups=workload.groups, callers=workload.callers)
            turns[name] = Turns(await stack.enter_async_context(opened), workload, stock)
            await turns[name].take(WARM_UP_SECONDS, warm_up)
        for number in range(chosen.rounds):
            for name in rotated(list(turns), number):
                measured = await turns[name].take(seconds, MOST)
                rounds.setdefault(name, []).append(workload.figures(measured))
    return rounds


async def run(chosen: options.Options) -> None:
    """All workloads, then the robot's HTTP API."""
    stock = Stock(QUICK_STOCK if chosen.quick else STOCK)
    with postgres.server() as server:
        facts = machine.facts(server.settings())
        details: dict[str, list[Figures]] = {}
        for workload in WORKLOADS:
            if chosen.quick:
                workload = replace(workload, groups=min(workload.groups, QUICK_GROUPS))  # noqa: PLW2901
            report.say(f"{workload.name}: {workload.callers} callers, {workload.groups} groups")
            for name, rounds in (await compare(server, workload, stock, chosen)).items():
                details.setdefault(name, []).extend(rounds)
        report.say("http: the robot's API")
        details["ours"].extend(await http(server, stock, chosen))
    measured = {name: median_of_rounds(rounds) for name, rounds in details.items()}
    report.publish(report.result("remember", KEYS, measured, chosen.peers, facts), chosen, measured, details)


async def http(server: postgres.Server, stock: Stock, chosen: options.Options) -> list[Figures]:
    """The rounds through a robot's process."""
    seconds, warm_up = (QUICK_SECONDS, QUICK_WARM_UP) if chosen.quick else (SECONDS, WARM_UP)
    rounds: list[Figures] = []
    settings = GroupSettings(max_tokens=ours.MAX_TOKENS)
    async with http_robot.open_writer(server.database("http"), callers=HTTP_16.callers, settings=settings) as writer:
        numbers = count()
        await Turns(writer, HTTP_16, stock, numbers).take(WARM_UP_SECONDS, warm_up)
        for _ in range(chosen.rounds):
            figures: dict[str, float | None] = {}
            for workload in (HTTP_1, HTTP_16):
                measured = await Turns(writer, workload, stock, numbers).take(seconds, MOST)
                figures |= workload.figures(measured)
            rounds.append(figures)
    return rounds


def main() -> None:
    """Reads the command line and runs."""
    chosen = options.parse("remember", __doc__ or "", rounds=ROUNDS)
    uvloop.run(run(chosen))


if __name__ == "__main__":
    main()
