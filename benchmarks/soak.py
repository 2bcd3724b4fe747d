"""make bench-soak: a million changes in one group. Do its tables stay bounded, its robots in step and its writes fast?

One active and two passive robots live in this process, each with its cache. Callers remember through the active one
all the while; others remember again, update, forget, restore, pin, take into the working set, clear and erase. The
group keeps its newest 20,000 memories. Tables are measured every few seconds; nothing but the robots tends them. At the
end every cache must equal the group, `check` must find nothing, and the feed must be within its bound.

BENCH_ARGS: --changes N (1,000,000), --minutes M (15: it ends then, whatever was reached), --quick, --results DIR.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

import psycopg
import uvloop
from psycopg.rows import DictRow, dict_row

from benchmarks import ours
from benchmarks.harness import machine, postgres, report
from benchmarks.harness.figures import percentile
from benchmarks.harness.options import Options, parser_of, results_of
from benchmarks.harness.texts import text
from robotgroups import migrations
from robotgroups.check import check
from robotgroups.errors import ArgumentError, NotFoundError
from robotgroups.lifecycle_store import MOST
from robotgroups.models import GroupSettings
from robotgroups.robot import HostedRobot
from robotgroups.store import Store

CHANGES, QUICK_CHANGES = 1_000_000, 10_000
MINUTES = 15
KEEP_MEMORIES = 20_000
CALLERS, CHANGERS = 64, 2
LONE, QUICK_LONE = 500, 50
EVERY_S, SETTLE_S, LIMIT_S = 5.0, 60.0, 120.0
KNOWN = 2000  # ids that the changers choose from
SERIES = "soak"
TABLES = ("changes", "memories", "working_memory", "groups", "presence", "lexemes", "memory_versions", "jobs")
SIZES = """
SELECT c.relname::text AS name, pg_total_relation_size(c.oid) AS bytes, s.n_live_tup AS live, s.n_dead_tup AS dead,
    s.n_tup_upd AS updates, s.n_tup_hot_upd AS hot, s.autovacuum_count AS vacuums
FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE s.schemaname = 'robotgroups'
"""
FEED = """
SELECT g.revision, g.pruned_to, (SELECT count(*) FROM robotgroups.changes c WHERE c.group_id = g.id) AS rows,
    (SELECT count(*) FROM robotgroups.memories m WHERE m.space_id = g.space_id) AS memories,
    pg_database_size(current_database()) AS bytes
FROM robotgroups.groups g WHERE g.id = %s
"""
MB = 1_000_000


@dataclass(frozen=True)
class Sample:
    """The group and its tables at one moment, seconds since the start. ``tables``: "changes_bytes", …"""

    at_s: float
    revision: int
    pruned_to: int
    feed_rows: int
    memories: int
    database_bytes: int
    tables: dict[str, float]

    @property
    def feed(self) -> int:
        """Changes that can be read."""
        return self.revision - self.pruned_to

    def flat(self) -> dict[str, float]:
        """All of it as one row of figures."""
        own = {name: float(value) for name, value in vars(self).items() if name != "tables"}
        return own | self.tables


@dataclass
class Soak:
    """What goes on, and what was seen of it."""

    robot: HostedRobot
    goal: int  # the revision at which it ends
    end: float  # and the time, monotonic
    numbers: count[int] = field(default_factory=count)
    known: deque[int] = field(default_factory=lambda: deque(maxlen=KNOWN))
    samples: list[Sample] = field(default_factory=list)
    refused: int = 0

    @property
    def over(self) -> bool:
        """Whether the goal or the time is reached."""
        return self.robot.revision >= self.goal or time.monotonic() >= self.end

    async def remember(self) -> None:
        """Remembers new texts, one after the other."""
        while not self.over:
            done = await self.robot.remember(text(next(self.numbers), SERIES).content)
            self.known.append(done.id)

    async def change(self, seed: int) -> None:
        """Does everything else to what is known. What is gone or cannot be just now is no trouble."""
        chosen = Random(seed)  # noqa: S311
        while not self.over:
            if not self.known:
                await asyncio.sleep(0.01)
                continue
            step = chosen.choices(list(STEPS), [weight for weight, _ in STEPS.values()])[0]
            try:
                await STEPS[step][1](self.robot, chosen.choice(self.known), chosen)
            except (ArgumentError, NotFoundError):
                self.refused += 1


async def _again(robot: HostedRobot, memory_id: int, _: Random) -> None:
    await robot.remember((await robot.get(memory_id)).content)


async def _update(robot: HostedRobot, memory_id: int, chosen: Random) -> None:
    await robot.update(memory_id, text(chosen.randrange(10**9), SERIES).content, tags=["soak:updated"])


async def _restored(robot: HostedRobot, memory_id: int, _: Random) -> None:
    await robot.forget(memory_id)
    await robot.restore(memory_id)


async def _pinned(robot: HostedRobot, memory_id: int, _: Random) -> None:
    await robot.pin(memory_id)
    await robot.unpin(memory_id)


async def _recalled(robot: HostedRobot, _: int, chosen: Random) -> None:
    words = text(chosen.randrange(10**6), SERIES).content.split()
    await robot.recall(" ".join(words[:2]), limit=5, into_working_memory=True)


async def _erase(robot: HostedRobot, memory_id: int, _: Random) -> None:
    await robot.erase(memory_id)


async def _clear(robot: HostedRobot, _: int, __: Random) -> None:
    await robot.clear_working_memory()


STEPS: dict[str, tuple[int, Callable[[HostedRobot, int, Random], Awaitable[None]]]] = {
    "again": (30, _again),
    "update": (30, _update),
    "forget and restore": (15, _restored),
    "pin and unpin": (10, _pinned),
    "recall": (10, _recalled),
    "erase": (4, _erase),
    "clear": (1, _clear),
}


async def sample(connection: psycopg.AsyncConnection[DictRow], group_id: int, started: float) -> Sample:
    """The tables now."""
    feed = await (await connection.execute(FEED.encode(), (group_id,))).fetchone()
    assert feed is not None
    tables: dict[str, float] = {}
    for row in await (await connection.execute(SIZES.encode())).fetchall():
        if (name := row["name"]) in TABLES:
            tables |= {f"{name}_{column}": row[column] for column in ("bytes", "live", "dead", "vacuums")}
            tables[f"{name}_hot"] = round(row["hot"] / row["updates"], 3) if row["updates"] else 0.0
    return Sample(
        at_s=round(time.monotonic() - started, 1),
        revision=feed["revision"],
        pruned_to=feed["pruned_to"],
        feed_rows=feed["rows"],
        memories=feed["memories"],
        database_bytes=feed["bytes"],
        tables=tables,
    )


async def lone(robot: HostedRobot, numbers: count[int], calls: int) -> tuple[float, float]:
    """Milliseconds of a lone remember: median and 99th percentile."""
    took = []
    for _ in range(calls):
        at = time.perf_counter()
        await robot.remember(text(next(numbers), SERIES).content)
        took.append((time.perf_counter() - at) * 1000)
    return percentile(took, 50), percentile(took, 99)


def rss_mb() -> float:
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB


async def agree(store: Store, group_id: int, robots: list[HostedRobot]) -> None:
    """Waits until every cache has the group's revision; then each must equal it (M3). RuntimeError."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            truth = await store.snapshot(group_id)
            if all(robot.revision == truth.revision for robot in robots):
                break
            await asyncio.sleep(0.05)
    for robot in robots:
        if list(robot.cache.memories.values()) != list(truth.working_memory):
            raise RuntimeError(f"{robot.name}'s cache is another one than the group's at revision {truth.revision}")


async def run(given: argparse.Namespace) -> None:
    """Starts the server, soaks, and tells."""
    settings = GroupSettings(max_tokens=ours.MAX_TOKENS, keep_memories=KEEP_MEMORIES)
    with postgres.server() as server:
        facts = machine.facts(server.settings())
        dsn = server.database("soak")
        await migrations.migrate(dsn)
        async with await Store.open(dsn) as store, contextlib.AsyncExitStack() as stack:
            group_id = await ours.declare(store, 0, settings)
            robots = [
                await stack.enter_async_context(
                    HostedRobot(await stack.enter_async_context(await Store.open(dsn)), group_id, name)
                )
                for name in (ours.ACTIVE, *ours.PASSIVE)
            ]
            connection = await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(server.superuser(dsn), autocommit=True, row_factory=dict_row)
            )
            figures, samples = await soaked(store, group_id, robots, connection, given)
        options = Options(given.quick, 1, (), picture=False, results=given.results)
        result = report.result("soak", list(figures), {"ours": figures}, (), facts)
        report.publish(result, options, {"ours": figures}, {"samples": samples})
        if given.picture:
            draw(samples, Path(f"{report.stem_of('soak', options)}.png"))


async def soaked(
    store: Store,
    group_id: int,
    robots: list[HostedRobot],
    connection: psycopg.AsyncConnection[DictRow],
    given: argparse.Namespace,
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """The figures and the samples. RuntimeError when something is not as it must be."""
    active, calls = robots[0], QUICK_LONE if given.quick else LONE
    numbers: count[int] = count()
    for _ in range(300):  # the working set is full, plans are made
        await active.remember(text(next(numbers), SERIES).content)
    before = await lone(active, numbers, calls)
    rss_before, began = rss_mb(), time.monotonic()
    soak = Soak(active, active.revision + given.changes, began + given.minutes * 60, numbers)
    first = active.revision
    report.say(f"{given.changes:,} changes, {given.minutes:g} minutes at most")

    async def watch() -> None:
        while True:
            soak.samples.append(await sample(connection, group_id, began))
            now = soak.samples[-1]
            report.say(
                f"revision {now.revision:,}: {now.feed:,} changes in {now.feed_rows:,} rows and "
                f"{now.tables['changes_bytes'] / MB:.0f} MB, {now.memories:,} memories"
            )
            if soak.over:
                return
            await asyncio.sleep(EVERY_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        for _ in range(CALLERS):
            tasks.create_task(soak.remember())
        for seed in range(CHANGERS):
            tasks.create_task(soak.change(seed))
    took, changes = time.monotonic() - began, active.revision - first
    await agree(store, group_id, robots)
    last = await settled(connection, group_id, began, quick=given.quick)
    soak.samples.append(last)
    after = await lone(active, numbers, calls)
    await agree(store, group_id, robots)
    if findings := await check(store):
        raise RuntimeError("check finds: " + "; ".join(map(str, findings)))
    most = max(s.feed for s in soak.samples)
    if last.feed > MOST or last.feed_rows > MOST:
        raise RuntimeError(f"the feed has {last.feed:,} changes in {last.feed_rows:,} rows, its bound is {MOST:,}")
    figures = {
        "changes": float(changes),
        "changes_per_s": changes / took,
        "feed_changes_most": float(most),
        "feed_rows_most": float(max(s.feed_rows for s in soak.samples)),
        "feed_mb_most": max(s.tables["changes_bytes"] for s in soak.samples) / MB,
        "feed_mb_after": last.tables["changes_bytes"] / MB,
        "memories_most": float(max(s.memories for s in soak.samples)),
        "memories_after": float(last.memories),
        "memories_mb_after": last.tables["memories_bytes"] / MB,
        "working_memory_mb_before": soak.samples[0].tables["working_memory_bytes"] / MB,
        "working_memory_mb_after": last.tables["working_memory_bytes"] / MB,
        "working_memory_hot": last.tables["working_memory_hot"],
        "groups_mb_before": soak.samples[0].tables["groups_bytes"] / MB,
        "groups_mb_after": last.tables["groups_bytes"] / MB,
        "groups_hot": last.tables["groups_hot"],
        "database_mb_before": soak.samples[0].database_bytes / MB,
        "database_mb_after": last.database_bytes / MB,
        "lone_p50_ms_before": before[0],
        "lone_p99_ms_before": before[1],
        "lone_p50_ms_after": after[0],
        "lone_p99_ms_after": after[1],
        "rss_mb_before": rss_before,
        "rss_mb_after": rss_mb(),
    }
    return figures, [s.flat() for s in soak.samples]


async def settled(connection: psycopg.AsyncConnection[DictRow], group_id: int, began: float, *, quick: bool) -> Sample:
    """The tables once the robots have tended them, and autovacuum has had a minute. RuntimeError when they do not."""
    end = time.monotonic() + LIMIT_S
    while True:
        now = await sample(connection, group_id, began)
        if now.memories <= KEEP_MEMORIES and now.feed_rows <= now.feed:
            break
        if time.monotonic() > end:
            raise RuntimeError(f"{now.memories:,} memories are kept instead of {KEEP_MEMORIES:,}")
        await asyncio.sleep(1)
    await asyncio.sleep(0 if quick else SETTLE_S)
    return await sample(connection, group_id, began)


def draw(samples: list[dict[str, float]], path: Path) -> None:
    """Writes a picture of the tables' sizes over the changes."""
    from benchmarks.harness.picture import Panel, draw_course  # noqa: PLC0415  heavy, and only in the bench group

    def megabytes(table: str) -> Callable[[Mapping[str, float]], float]:
        return lambda sample: sample[f"{table}_bytes"] / MB

    sizes = {table: megabytes(table) for table in ("changes", "memories", "working_memory", "groups")}
    counts = {
        "changes in the feed": lambda sample: sample["revision"] - sample["pruned_to"],
        "memories": lambda sample: sample["memories"],
    }
    draw_course(samples, "revision", [Panel("MB with indexes", sizes), Panel("", counts)], path)


def main() -> None:
    """Reads the command line and runs."""
    parser = parser_of("soak", __doc__ or "")
    parser.add_argument("--changes", type=int, default=None, help=f"how many ({CHANGES:,})")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"the most that it takes ({MINUTES})")
    given = parser.parse_args()
    given.changes = given.changes or (QUICK_CHANGES if given.quick else CHANGES)
    if given.changes < 1 or given.minutes <= 0:
        parser.error("--changes and --minutes must be above 0")
    given.results = results_of(given)
    try:
        uvloop.run(run(given))
    except RuntimeError as error:
        sys.exit(f"bench-soak: {error}")


if __name__ == "__main__":
    main()
