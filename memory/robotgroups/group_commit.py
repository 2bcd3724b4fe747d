"""Group commit: what one robot is asked to remember while a transaction is under way goes into the next one together.

A lone remember leaves at once; many share one fsync. The order is kept; of two that are the same memory, or have the
same key, the second waits for the next transaction, where it finds the first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from robotgroups.models import Remembered
from robotgroups.remembering import Item

MAX_ITEMS = 256
MAX_BYTES = 4 * 1024 * 1024

Outcome = Remembered | Exception
Send = Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]]
Waiting = tuple[Item, asyncio.Future[Remembered]]


def raised(outcomes: Sequence[Outcome]) -> list[Remembered]:
    """The acknowledgements; raises the first error among the outcomes, with its place told."""
    done: list[Remembered] = []
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Exception):
            outcome.add_note(f"it is memory {place} of {len(outcomes)}")
            raise outcome
        done.append(outcome)
    return done


def next_batch(waiting: deque[Waiting]) -> list[Waiting]:
    """Take from the front what goes into one transaction: no two the same, within the limits of one statement."""
    batch: list[Waiting] = []
    seen: set[object] = set()
    size = 0
    while waiting and len(batch) < MAX_ITEMS:
        item = waiting[0][0]
        if batch and (size + len(item.json) > MAX_BYTES or not seen.isdisjoint(item.same)):
            break
        seen.update(item.same)
        size += len(item.json)
        batch.append(waiting.popleft())
    return batch


class GroupCommit:
    """Gathers items and sends them; ``send`` gives an outcome for each, in order, or raises for all of them."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[Waiting] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def remember(self, item: Item) -> Remembered:
        """Remember one; who stops waiting for it does not undo it. Raises what its transaction raised."""
        return await self._enqueue(item)

    async def remember_many(self, items: Sequence[Item]) -> list[Outcome]:
        """Remember many, in as few transactions as they fit into; an outcome for each, in order."""
        waiting = [self._enqueue(item) for item in items]
        if waiting:
            await asyncio.wait(waiting)
        return [done.exception() or done.result() for done in waiting]  # type: ignore[misc]

    def _enqueue(self, item: Item) -> asyncio.Future[Remembered]:
        done: asyncio.Future[Remembered] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all(), name="group commit")
        return done

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                await self._send_next()
                # those who were just answered ask again now, and come along
                await asyncio.sleep(0)
        finally:
            self._sender = None

    async def _send_next(self) -> None:
        batch = next_batch(self._waiting)
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._send([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001  it is raised where it belongs: at each who waits
            outcomes = [error] * len(batch)
        except BaseException:
            for _, done in batch:
                done.cancel()
            raise
        for (_, done), outcome in zip(batch, outcomes, strict=True):
            if done.done():
                continue  # who waited was cancelled
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    async def close(self) -> None:
        """Wait for what is under way."""
        while self._sender is not None:
            await asyncio.wait([self._sender])
