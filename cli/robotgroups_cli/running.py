"""Runs a command's coroutine; Ctrl-C and SIGTERM let it come to a whole line, a second Ctrl-C does not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from robotgroups_cli.outcome import SignalledError

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end.

    Raises:
        SignalledError: a signal has stopped it; what it holds was let go of.

    """
    return asyncio.run(_interruptible(work))


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        loop.remove_signal_handler(number)  # the next one ends the process as it would any other
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise SignalledError(received[0]) from None
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
