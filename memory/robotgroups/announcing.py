"""Announcements that are not in the transaction: one for many, a moment later, for those to whom nobody tells more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from robotgroups.errors import RobotGroupsError

# Before PostgreSQL 19 a NOTIFY wakes every session of the database that listens to anything. Robots learn of what they
# were not told by their heartbeats, sooner than this.
EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Announcer:
    """Announces what it was given last, at once when it has not done so for a second; until that has succeeded."""

    def __init__(self, announce: Callable[[int], Awaitable[None]]) -> None:
        self._announce = announce
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._revision: int | None = None  # that is to be announced
        self._free_at = 0.0

    def soon(self, revision: int) -> None:
        """The group is at ``revision``."""
        self._revision = revision
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="announcements")

    async def close(self) -> None:
        """Announce at once what is left, if that can be done now."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._revision is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(self._free_at - time.monotonic(), 0)):
                        await self._closing.wait()
                last = self._closing.is_set()
                revision, self._revision = self._revision, None
                self._free_at = time.monotonic() + EVERY_S
                try:
                    await self._announce(revision)
                except RobotGroupsError as error:
                    logger.info("an announcement is late: %s", error)
                    if last:
                        return
                    self._revision = revision if self._revision is None else self._revision
        finally:
            self._task = None
