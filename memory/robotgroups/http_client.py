"""httpx's client under uvloop: connections that end the moment that they are made, as those to a robot that dies."""

from __future__ import annotations

from typing import Any

import httpx


class HttpClient(httpx.AsyncClient):
    """Raises httpx.ConnectError for what comes out of uvloop when such a connection is reset.

    anyio then asks a socket for its peer that uvloop has given up (an AttributeError). Nothing has been sent by then.
    """

    async def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        """As httpx's, by which all its requests go."""
        try:
            return await super().send(request, **how)
        except AttributeError as error:
            if error.name == "getpeername" and error.obj is None:
                raise httpx.ConnectError("the connection ended as it was made") from error
            raise
