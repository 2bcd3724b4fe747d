"""Progress on the terminal: which step, how long it takes, how long it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class ClusterError(Exception):
    """Something that the person at the terminal has to know or to put right; the message says what and how."""


def say(text: str) -> None:
    """A line of progress, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(what: str, first_time: str = "") -> Iterator[None]:
    """A long step: announced, with what to expect the first time, and timed."""
    say(f"==> {what}" + (f" (first time: {first_time})" if first_time else ""))
    started = time.monotonic()
    yield
    say(f"    done in {time.monotonic() - started:.1f} s: {what}")
