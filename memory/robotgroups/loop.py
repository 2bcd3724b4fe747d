"""An event loop in a thread of its own: what the synchronous faces run the asynchronous core on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from robotgroups.errors import ClosedError

P = ParamSpec("P")
T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own, until ``close``.

    The thread is a daemon: a script that forgets to shut down, or dies of an exception, still ends.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=what, daemon=True)
        self._thread.start()

    def run(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function there and wait for what it returns or raises.

        Raises:
            ClosedError: after ``close``.

        """
        if self._loop.is_closed():
            raise ClosedError(f"{self._what} has been shut down: open it again")

        async def awaited() -> T:
            return await call(*args, **kwargs)

        future = self.submit(awaited())
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a coroutine there. To cancel the future cancels the coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call a function there, soon. RuntimeError: the loop has ended."""
        self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """End the loop."""
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_asyncgens(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
