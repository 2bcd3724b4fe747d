"""Keeps the database up, beside everything else: what the library does as the database's owner, every half minute."""

import asyncio

import structlog

from robotgroups.errors import MemoryUnavailableError, RobotGroupsError
from robotgroups.upkeep import Report, all_steps, run_once
from robotgroups_operator.database import Database
from robotgroups_operator.metrics import UPKEEP_DONE, UPKEEP_FAILED, UPKEEP_ROUNDS, UPKEEP_SECONDS

log = structlog.get_logger(__name__)


class DatabaseUpkeep:
    """Rounds on a connection of their own: an index that takes minutes keeps no group waiting."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._steps = all_steps()

    async def run(self) -> None:
        """Runs until it is cancelled; a round that is broken off then is gone on with by the next one."""
        while True:
            await asyncio.sleep(self._seconds)
            UPKEEP_ROUNDS.labels(outcome=await self._round()).inc()

    async def _round(self) -> str:
        try:
            with UPKEEP_SECONDS.time():
                report = await run_once(self._database.store, self._steps)
        except MemoryUnavailableError as error:
            log.debug("no upkeep while Postgres is away", error=str(error))
            return "unavailable"
        except RobotGroupsError as error:
            log.warning("upkeep failed", error=str(error))
            return "failed"
        except Exception:
            log.exception("upkeep failed unexpectedly")
            return "failed"
        return "elsewhere" if report is None else _count(report)


def _count(report: Report) -> str:
    for step, count in report.done.items():
        UPKEEP_DONE.labels(step=step).inc(count)
    for step in report.failed:
        UPKEEP_FAILED.labels(step=step).inc()
    return "failed" if report.failed else "done"
