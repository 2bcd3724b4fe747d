"""Makes the lexemes of what was just remembered, behind its acknowledgement; until then recall reads the texts."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from robotgroups.errors import RobotGroupsError
from robotgroups.store import Store

BATCH = 500
# Many remembers are lexed together, and a lone one does not wait for the processor meanwhile. Recall reads the texts of
# so many as have no lexemes yet, in a few milliseconds.
GATHER_S, GATHER = 0.25, 128

logger = logging.getLogger(__name__)


class Lexer:
    """One task at a time, as long as there is something to do; ``close`` waits for it."""

    def __init__(self, store: Store, group_id: int) -> None:
        self._store = store
        self._group_id = group_id
        self._task: asyncio.Task[None] | None = None
        self._more = 0
        self._enough = asyncio.Event()
        self._closing = False

    def soon(self, count: int) -> None:
        """So many were remembered."""
        self._more += count
        if self._more >= GATHER:
            self._enough.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="lexemes")

    async def close(self) -> None:
        """Do what is left at once."""
        self._closing = True
        self._enough.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GATHER_S):
                        await self._enough.wait()
                self._more = 0
                if not self._closing:
                    self._enough.clear()
                while await self._store.lex(self._group_id, BATCH) == BATCH:
                    pass
        except RobotGroupsError as error:  # the next remember tries again
            logger.info("lexemes are late: %s", error)
        finally:
            self._task = None
