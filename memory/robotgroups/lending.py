"""Something that several use at a time and that is closed when it was replaced: after the last of them is done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Lent(Generic[T]):
    """Holds ``thing``; ``close`` is called once, when it is retired and nobody uses it any more."""

    def __init__(self, thing: T, close: Callable[[], Awaitable[None]]) -> None:
        self._thing = thing
        self._close = close
        self._users = 0
        self._retired = self._closed = False

    @asynccontextmanager
    async def use(self) -> AsyncIterator[T]:
        """Use it for the length of the block."""
        self._users += 1
        try:
            yield self._thing
        finally:
            self._users -= 1
            await self._close_when_over()

    async def retire(self) -> None:
        """Nobody new comes."""
        self._retired = True
        await self._close_when_over()

    async def _close_when_over(self) -> None:
        if self._retired and self._users == 0 and not self._closed:
            self._closed = True
            await self._close()
