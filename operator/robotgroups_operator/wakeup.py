"""A wake-up call that coalesces: many calls, one awakening, at the earliest time that anybody asked for."""

import asyncio


class Wakeup:
    """Belongs to one sleeper, in one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline: float | None = None
        self._changed = asyncio.Event()

    def call(self, delay: float = 0.0) -> None:
        """Asks to be woken in `delay` seconds at the latest."""
        deadline = self._loop.time() + delay
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline
            self._changed.set()

    async def sleep(self) -> None:
        """Returns at the earliest time that was asked for; calls that come later count for the next sleep."""
        while self._deadline is None or self._deadline > self._loop.time():
            self._changed.clear()
            remaining = None if self._deadline is None else self._deadline - self._loop.time()
            try:
                async with asyncio.timeout(remaining):
                    await self._changed.wait()
            except TimeoutError:
                break
        self._deadline = None
