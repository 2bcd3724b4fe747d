"""Makes the lexemes of what was just remembered, behind its acknowledgement; until then recall reads the texts."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from robotgroups.errors import RobotGroupsError
from robotgroups.store import Store

BATCH = 500
# Many remembers are lexed together, and a lone one does not wait for the processor meanwhile.
GATHER_S = 0.05

logger = logging.getLogger(__name__)


class Lexer:
    """One task at a time, as long as there is something to do; ``close`` waits for it."""

    def __init__(self, store: Store, group_id: int) -> None:
        self._store = store
        self._group_id = group_id
        self._task: asyncio.Task[None] | None = None
        self._more = False
        self._closing = asyncio.Event()

    def soon(self) -> None:
        """Something was remembered."""
        self._more = True
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="lexemes")

    async def close(self) -> None:
        """Do what is left at once."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GATHER_S):
                        await self._closing.wait()
                self._more = False
                while await self._store.lex(self._group_id, BATCH) == BATCH:
                    pass
        except RobotGroupsError as error:  # the next remember tries again
            logger.info("lexemes are late: %s", error)
        finally:
            self._task = None
