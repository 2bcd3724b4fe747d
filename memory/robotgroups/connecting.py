"""HTTP connections that end in the moment in which they are made, as those to a robot that dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def connecting() -> Iterator[None]:
    """Around a request of httpx: a ConnectError for what it raises under uvloop when such a connection is reset.

    anyio then asks a socket for its peer that uvloop has given up (an AttributeError). Nothing has been sent by then.
    """
    try:
        yield
    except AttributeError as error:
        if error.name == "getpeername" and error.obj is None:
            raise httpx.ConnectError("the connection ended as it was made") from error
        raise
