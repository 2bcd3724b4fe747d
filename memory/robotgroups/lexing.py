"""Makes the lexemes of what was just remembered, behind its acknowledgement; until then recall reads the texts."""

from __future__ import annotations

import asyncio
import logging

from robotgroups.errors import RobotGroupsError
from robotgroups.store import Store

BATCH = 500

logger = logging.getLogger(__name__)


class Lexer:
    """One task at a time, as long as there is something to do; ``close`` waits for it."""

    def __init__(self, store: Store, group_id: int) -> None:
        self._store = store
        self._group_id = group_id
        self._task: asyncio.Task[None] | None = None
        self._more = False

    def soon(self) -> None:
        """Something was remembered."""
        self._more = True
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="lexemes")

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._more:
                self._more = False
                while await self._store.lex(self._group_id, BATCH) == BATCH:
                    pass
        except RobotGroupsError as error:  # the next remember tries again
            logger.info("lexemes are late: %s", error)
        finally:
            self._task = None
