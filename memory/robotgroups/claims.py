"""The jobs that this process has claimed: kept while it works on them, given back when it ends without an outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_random_exponential

from robotgroups.cancelling import cancelled
from robotgroups.errors import MemoryUnavailableError
from robotgroups.jobs import LEASE_S, Claimant, Job, JobKind, Jobs

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Claims:
    """Claims of one robot. ``aclose`` it when nobody works any more: it gives back what has no outcome yet."""

    def __init__(self, queue: Jobs, group_id: int, *, lease_s: float = LEASE_S) -> None:
        self.queue = queue
        self.group_id = group_id
        self.lease_s = lease_s
        self._open: dict[int, Claimant] = {}
        self._keepers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def held(
        self, who: Claimant, kinds: Sequence[JobKind], limit: int, max_characters: int | None = None
    ) -> AsyncIterator[list[Job]]:
        """Claim jobs and hold them for the length of the block, however long that is.

        What has no outcome (``settle``) at its end is given back.
        """
        jobs = await self.queue.claim_jobs(
            self.group_id, who, kinds, limit, lease_s=self.lease_s, max_characters=max_characters
        )
        if not jobs:
            yield jobs
            return
        ids = [job.id for job in jobs]
        self._open.update(dict.fromkeys(ids, who))
        keeper = asyncio.create_task(self._keep(who, ids), name=f"claims of {who.robot}")
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)
        try:
            yield jobs
        except Exception:
            await self._give_back(who, ids)
            raise
        else:
            await self._give_back(who, ids)
        finally:  # cancelled: aclose gives back
            keeper.cancel()

    async def settle(self, jobs: Iterable[int], outcome: Callable[[], Awaitable[T]]) -> T:
        """Store the outcome of jobs. While Postgres is away it tries again for as long as the claims may stand.

        Raises:
            MemoryUnavailableError: it was away for longer.

        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(MemoryUnavailableError),
            stop=stop_after_delay(self.lease_s),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        )

        async def stored() -> T:
            return await outcome()

        done: T = await retrying(stored)
        for job in jobs:
            self._open.pop(job, None)
        return done

    async def aclose(self) -> None:
        """Give back everything."""
        await cancelled(self._keepers)
        for who in set(self._open.values()):
            await self._give_back(who, [job for job, claimant in self._open.items() if claimant == who])

    async def _keep(self, who: Claimant, ids: Sequence[int]) -> None:
        """Renew claims well before they run out."""
        await asyncio.sleep(self.lease_s / 3)
        while mine := [job for job in ids if job in self._open]:
            try:
                await self.queue.renew_jobs(self.group_id, who, mine, lease_s=self.lease_s)
            except MemoryUnavailableError as error:  # there is time for two more
                logger.info("%s could not renew its claims: %s", who.robot, error)
            await asyncio.sleep(self.lease_s / 3)

    async def _give_back(self, who: Claimant, jobs: Iterable[int]) -> None:
        left = [job for job in jobs if self._open.pop(job, None) is not None]
        if not left:
            return
        try:
            await self.queue.release_jobs(self.group_id, who, left)
        except MemoryUnavailableError as error:  # their time runs out, then
            logger.info("%s could not give %d claims back: %s", who.robot, len(left), error)
