"""Upkeep of the database by whoever owns it: the operator, and every process of the SDK. One at a time does it.

What a robot tends is tended for groups of which none lives; HNSW indexes come and go with the models; a model that has
embedded everything takes over recall. Each step is safe to interrupt anywhere: the next round finds what was
left and goes on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from robotgroups import indexing
from robotgroups.cancelling import cancelled
from robotgroups.connection import Connection, checked_dsn, our_errors, refuse_pooler
from robotgroups.errors import MemoryUnavailableError, RobotGroupsError
from robotgroups.intruders import end_holders
from robotgroups.pool import Pool
from robotgroups.tending import Unattended

FIRST_S, EVERY_S = 2.0, 30.0
# Rows of one statement and statements of one round: nobody waits long for a lock, and no step keeps others waiting.
ROWS, STATEMENTS = 1000, 200
# Any constant: what matters is that all of us take the same one.
LOCK = 5247_0002

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """``run`` does it on a connection in autocommit, and returns how much was done."""

    name: str
    run: Callable[[Connection], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Report:
    """What a round has done, by its steps' names, and why steps failed."""

    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def repeated(name: str, sql: str) -> Step:
    """The step that runs a statement until it returns 0: ``%s`` in it is how many rows it may take at a time."""

    async def run(connection: Connection) -> int:
        total = 0
        for _ in range(STATEMENTS):
            row = await (await connection.execute(sql.encode(), (ROWS,))).fetchone()
            if row is None or not row[0]:
                break
            total += int(row[0])
        return total

    return Step(name, run)


async def _finish_models(connection: Connection) -> int:
    cursor = await connection.execute(
        "SELECT id FROM robotgroups.spaces "
        "WHERE target_model IS NOT NULL AND serving_model IS DISTINCT FROM target_model ORDER BY id"
    )
    finished = 0
    for (space,) in await cursor.fetchall():
        row = await (await connection.execute("SELECT robotgroups.finish_model(%s)", (space,))).fetchone()
        finished += bool(row and row[0])
    return finished


def all_steps() -> tuple[Step, ...]:
    """The steps of a round, to be used for the next ones too: they remember how far they have come.

    In this order: an index goes before its rows do, and stands before its model takes over; what takes longest is last.
    """
    return (
        Step("tend", Unattended().tend),
        Step("drop_indexes", indexing.drop_indexes),
        repeated("prune_models", "SELECT robotgroups.prune_models(%s)"),
        Step("build_indexes", indexing.build_indexes),
        Step("finish_models", _finish_models),
    )


async def run_once(store: Pool, steps: Sequence[Step] | None = None) -> Report | None:
    """One round on a connection of its own, of all steps anew or of these; None when another process is at it.

    A step that fails does not keep the others from being done; the report tells why.

    Raises:
        MemoryUnavailableError: Postgres is away, or went away.

    """
    async with our_errors():
        connection = await psycopg.AsyncConnection.connect(
            checked_dsn(store.dsn, application_name="robotgroups upkeep"), autocommit=True
        )
        async with connection:
            await refuse_pooler(connection)
            row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))).fetchone()
            if row is None or not row[0]:
                await end_holders(connection, LOCK)
                return None
            await connection.execute("SET statement_timeout = 0")  # an index takes minutes
            return await _round(connection, all_steps() if steps is None else steps)


async def _round(connection: Connection, steps: Sequence[Step]) -> Report:
    report = Report()
    for step in steps:
        try:
            async with our_errors():
                report.done[step.name] = await step.run(connection)
        except MemoryUnavailableError:
            raise
        except RobotGroupsError as error:
            logger.warning("upkeep %s: %s", step.name, error)
            report.failed[step.name] = str(error)
    if any(report.done.values()):
        logger.info("upkeep: %s", ", ".join(f"{name} {count}" for name, count in report.done.items() if count))
    return report


class Upkeep:
    """A round every half minute, between ``start`` and ``stop``."""

    def __init__(self, store: Pool) -> None:
        self._store = store
        self._steps = all_steps()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="upkeep")

    async def stop(self) -> None:
        """End, in the middle of whatever is under way. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            await cancelled([task])

    async def _run(self) -> None:
        pause = FIRST_S
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads processes
            pause = EVERY_S
            try:
                await run_once(self._store, self._steps)
            except RobotGroupsError as error:
                logger.info("no upkeep now: %s", error)
            except Exception:
                logger.exception("upkeep")
