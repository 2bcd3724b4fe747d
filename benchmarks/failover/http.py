"""The least of an HTTP client: httpx takes as long for a request as the robot does, on the same two cores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LIMIT_S = 10.0
END = b"\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """A status and a body; ``closes``: the server ends the connection after it."""

    status: int
    body: bytes
    closes: bool

    @property
    def good(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.status < 300  # noqa: PLR2004


class Connection:
    """One connection, a request at a time. It may be opened again when it has ended."""

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._place = parts.hostname, parts.port or 80
        self._head = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._head += f"Authorization: Bearer {token}\r\n" if token else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Sends a request. Whatever breaks it is raised: OSError, EOFError, TimeoutError after ten seconds."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(content)}"
        try:
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await self._opened()
                writer.write(head.encode() + END + content)
                answer = await _read(reader)
        except BaseException:
            self.close()
            raise
        if answer.closes:
            self.close()
        return answer

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # it was ended while nothing was under way: any client sees that
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._place)
        return self._streams

    def close(self) -> None:
        """Ends the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def _read(reader: asyncio.StreamReader) -> Answer:
    lines = (await reader.readuntil(END)).decode().lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    body = await reader.readexactly(int(fields["content-length"]))
    return Answer(int(lines[0].split(" ", 2)[1]), body, fields.get("connection") == "close")
