"""The HTTP server: uvicorn with httptools, whose signals are ours and whose requests' heads are bounded."""

import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# What is under way when the server stops gets so long to finish; the grace period is 30 s, draining at most 20.
GRACEFUL_S = 5
KEEP_ALIVE_S = 30
# The request line, the headers and, after a chunked body, the trailers of one request.
MAX_HEAD_BYTES = 64 * 1024


class HeadTooLargeError(Exception):
    """Raised inside the parser, which ends the request with 400."""


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol over llhttp, which by itself takes a head of any length, from anybody, into memory."""

    _head = 0  # bytes of this request's head so far
    _silent = 0  # bytes received since the parser has last made something of them: a field that does not end

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self._silent += len(data)
        super().data_received(data)
        if self._silent > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"A request's head may have {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._head = self._silent = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line's target."""
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or trailer."""
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, which the application bounds."""
        self._silent = 0
        super().on_body(body)

    def _grow(self, size: int) -> None:
        self._head, self._silent = self._head + size, 0
        if self._head > MAX_HEAD_BYTES:
            raise HeadTooLargeError


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to us: a robot hands over before it stops listening."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def create_server(app: ASGIApp, host: str, port: int) -> Server:
    """The server of `app`, to be run by its `serve`."""
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=BoundedHead,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here depends on the client's address
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACEFUL_S,
        )
    )
