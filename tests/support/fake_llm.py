"""An endpoint like OpenAI's, for tests: `/v1/embeddings` and `/v1/chat/completions` of no intelligence at all.

In a test: `with FakeLlm() as fake: … fake.base_url …`. As a process: `python fake_llm.py --port N`, with `POST /control
{"fault": "server_error", "times": 3}` (`{"fault": null}`: recover) and `GET /seen` (how many requests and texts) to
steer it from outside. Needs the standard library only: it runs in a robot's image.

Vectors: every word has a random direction of its own, a text is the sum of its words' ones at unit length, so that
texts with common words are near. Tags: a text's most frequent long words, `topic:word`. Propositions: its sentences.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import math
import random
import re
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LONGEST_HANG_S = 60.0
WORD = re.compile(r"\w+")


class Fault(StrEnum):
    """What it can be told to do instead of answering."""

    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    SERVER_ERROR = "server_error"
    UNSTORABLE = "unstorable"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    TOO_LONG = "too_long"
    HANG = "hang"
    DROP = "drop"
    GARBAGE = "garbage"
    NO_VECTORS = "no_vectors"
    WRONG_COUNT = "wrong_count"
    WRONG_DIMENSIONS = "wrong_dimensions"
    SHUFFLED = "shuffled"
    NOT_FINITE = "not_finite"


class Dimensions(StrEnum):
    """What it makes of `dimensions`: OpenAI shortens the vectors, older Ollamas pass over it, vLLM may refuse it."""

    SHORTEN = "shorten"
    IGNORE = "ignore"
    REFUSE = "refuse"


_STATUSES: dict[Fault, tuple[int, dict[str, str]]] = {
    Fault.RATE_LIMITED: (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    Fault.QUOTA: (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    Fault.SERVER_ERROR: (500, {"message": "The server had an error"}),
    Fault.UNSTORABLE: (500, {"message": "\0 and \ud83d"}),
    Fault.UNAUTHORIZED: (401, {"message": "Incorrect API key provided", "code": "invalid_api_key"}),
    Fault.NOT_FOUND: (404, {"message": "The model does not exist", "code": "model_not_found"}),
    Fault.REFUSED: (400, {"message": "Invalid value for 'input'"}),
    Fault.TOO_LONG: (400, {"message": "This model's maximum context length is 8192 tokens"}),
}


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    path: str
    body: dict[str, Any]
    authorization: str | None

    @property
    def texts(self) -> list[str]:
        """What was to be embedded."""
        given = self.body.get("input", [])
        return [given] if isinstance(given, str) else list(given)


class RefusalError(Exception):
    """The answer is an error."""

    def __init__(self, status: int, **error: str) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = error


@dataclass
class FakeLlm:
    """The endpoint. Its attributes may be changed while it runs.

    `poison` is a word that is refused (400) wherever it comes, `breaks` one that it fails at (500); `max_batch` more
    texts than which are refused; `max_words` makes a longer text too long; `key` is the one it asks for; `knows_base64`
    False makes it send lists of numbers; `refuses` are fields of a chat's request that it does not take
    (`temperature`, `json_schema`, `json_object`); `says` are the chat's next answers instead of its own.
    """

    dimensions: int = 384
    host: str = "127.0.0.1"
    port: int = 0
    key: str | None = None
    takes_dimensions: Dimensions = Dimensions.SHORTEN
    knows_base64: bool = True
    poison: str | None = None
    breaks: str | None = None
    max_batch: int | None = None
    max_words: int | None = None
    refuses: set[str] = field(default_factory=set)
    says: list[str] = field(default_factory=list)
    finish_reason: str = "stop"
    requests: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._times: int | None = None
        self._headers: dict[str, str] = {}
        self._go_on = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listens; `port` is the one that it got."""
        self._go_on.clear()
        self._server = _Server((self.host, self.port), self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        """Ends every connection; the port is free then."""
        if self._server is None or self._thread is None:
            return
        self._go_on.set()
        self._server.shutdown()
        self._server.cut()
        self._server.server_close()
        self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """What clients are given."""
        return f"http://{self.host}:{self.port}/v1"

    # -- faults ------------------------------------------------------------------------------------------------------

    def fail(self, fault: Fault, times: int | None = None, **headers: str) -> None:
        """The next `times` requests (None: all until `recover`) go wrong; `Retry_After="2"` adds a header."""
        with self._lock:
            self._fault, self._times = fault, times
            self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
            self._go_on.clear()

    def recover(self) -> None:
        """No more faults; what hangs is answered."""
        with self._lock:
            self._fault = self._times = None
            self._headers = {}
            self._go_on.set()

    def asked(self, path: str = "/v1/embeddings") -> list[Seen]:
        """The requests to a path."""
        with self._lock:
            return [seen for seen in self.requests if seen.path == path]

    def begin(self, seen: Seen) -> tuple[Fault | None, dict[str, str]]:
        """Notes a request; the fault that it gets, and the headers of its answer."""
        with self._lock:
            self.requests.append(seen)
            if self._times == 0:
                return None, {}
            if self._times is not None:
                self._times -= 1
            return self._fault, self._headers

    def wait(self) -> None:
        """Hangs until `recover` or `stop`."""
        self._go_on.wait(LONGEST_HANG_S)

    # -- answers -----------------------------------------------------------------------------------------------------

    def answer(self, seen: Seen, fault: Fault | None) -> dict[str, Any]:
        """The JSON of a request's answer. RefusalError when there is none."""
        if fault in _STATUSES:
            status, error = _STATUSES[fault]
            raise RefusalError(status, **error)
        if self.key is not None and seen.authorization != f"Bearer {self.key}":
            raise RefusalError(401, message=f"Incorrect API key provided: {seen.authorization}")
        if seen.path == "/v1/embeddings":
            return self._embeddings(seen, fault)
        if seen.path == "/v1/chat/completions":
            return self._chat(seen)
        raise RefusalError(404, message=f"no such path: {seen.path}")

    def _check_texts(self, texts: Sequence[str]) -> None:
        if self.max_batch is not None and len(texts) > self.max_batch:
            raise RefusalError(422, message=f"batch size {len(texts)} > maximum allowed batch size {self.max_batch}")
        for text in texts:
            if self.poison is not None and self.poison in text:
                raise RefusalError(400, message="input is invalid")
            if self.breaks is not None and self.breaks in text:
                raise RefusalError(500, message="unsupported value: NaN")
            if self.max_words is not None and len(WORD.findall(text)) > self.max_words:
                raise RefusalError(400, message=f"maximum context length is {self.max_words} tokens")

    def _embeddings(self, seen: Seen, fault: Fault | None) -> dict[str, Any]:
        self._check_texts(seen.texts)
        dimensions = self.dimensions
        if "dimensions" in seen.body:
            if self.takes_dimensions is Dimensions.REFUSE:
                raise RefusalError(400, message="the model does not support matryoshka representation")
            if self.takes_dimensions is Dimensions.SHORTEN:
                dimensions = min(dimensions, seen.body["dimensions"])
        if fault is Fault.WRONG_DIMENSIONS:
            dimensions += 1
        vectors = [embedding(text, max(self.dimensions, dimensions))[:dimensions] for text in seen.texts]
        if fault is Fault.NOT_FINITE:
            vectors = [[float("nan")] * dimensions for _ in vectors]
        as_base64 = self.knows_base64 and seen.body.get("encoding_format") == "base64"
        data: list[dict[str, Any]] = [
            {"object": "embedding", "index": index, "embedding": packed(vector) if as_base64 else vector}
            for index, vector in enumerate(vectors)
        ]
        if fault is Fault.WRONG_COUNT:
            data.pop()
        if fault is Fault.SHUFFLED:
            data.reverse()
        if fault is Fault.NO_VECTORS:
            return {"object": "list", "model": seen.body["model"]}
        return {"object": "list", "model": seen.body["model"], "data": data}

    def _chat(self, seen: Seen) -> dict[str, Any]:
        form = (seen.body.get("response_format") or {}).get("type")
        for given in (form, "temperature" if "temperature" in seen.body else None):
            if given in self.refuses:
                raise RefusalError(400, message=f"{given} is not supported by this model")
        prompt, text = (message["content"] for message in seen.body["messages"])
        self._check_texts([text])
        with self._lock:
            content = self.says.pop(0) if self.says else None
        if content is None:
            content = json.dumps({"tags": tags(text)} if '"tags"' in prompt else {"propositions": sentences(text)})
        message = {"role": "assistant", "content": content}
        return {"object": "chat.completion", "choices": [{"message": message, "finish_reason": self.finish_reason}]}

    def seen(self) -> dict[str, int]:
        """How much was asked."""
        embeddings = self.asked()
        return {
            "embeddings": len(embeddings),
            "texts": sum(len(request.texts) for request in embeddings),
            "chats": len(self.asked("/v1/chat/completions")),
        }


def embedding(text: str, dimensions: int) -> list[float]:
    """The vector of a text: deterministic, of unit length, near to those of texts with the same words."""
    words = [word.removesuffix("s") for word in WORD.findall(text.lower())] or [text]
    total = [math.fsum(column) for column in zip(*(_direction(word, dimensions) for word in words), strict=True)]
    length = math.hypot(*total)
    return [value / length for value in total]


@lru_cache(10_000)
def _direction(word: str, dimensions: int) -> tuple[float, ...]:
    source = random.Random(word)
    return tuple(source.gauss(0, 1) for _ in range(dimensions))


def packed(vector: Sequence[float]) -> str:
    """Base64 of 32-bit floats, little-endian."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def tags(text: str) -> list[str]:
    """The three most frequent words of at least five letters, the first come first."""
    words = [word for word in WORD.findall(text.lower()) if len(word) > 4]
    return [f"topic:{word}" for word, _ in Counter(words).most_common(3)]


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]


class _Server(ThreadingHTTPServer):
    """Knows its connections: at the end they are cut, and their threads waited for."""

    daemon_threads = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], fake: FakeLlm) -> None:
        self.fake = fake
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for request in list(self._open):
            with contextlib.suppress(OSError):  # it has just ended by itself
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle of an answer are part of the tests."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._send(200, self.server.fake.seen() if self.path == "/seen" else {"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/control":
            self._control(body)
            return
        fake = self.server.fake
        seen = Seen(self.path, body, self.headers.get("Authorization"))
        fault, headers = fake.begin(seen)
        if fault is Fault.HANG:
            fake.wait()
        if fault is Fault.DROP:
            self.close_connection = True
            return
        if fault is Fault.GARBAGE:
            self._send(200, None, headers)
            return
        try:
            answer = fake.answer(seen, fault)
        except RefusalError as refusal:
            self._send(refusal.status, {"error": refusal.error}, headers)
        else:
            self._send(200, answer, headers)

    def _control(self, body: dict[str, Any]) -> None:
        if body.get("fault") is None:
            self.server.fake.recover()
        else:
            self.server.fake.fail(Fault(body["fault"]), body.get("times"))
        self._send(200, {})

    def _send(self, status: int, document: dict[str, Any] | None, headers: dict[str, str] | None = None) -> None:
        content = b"<html>Welcome!</html>" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


def main() -> None:
    """Serves until it is ended."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--dimensions", type=int, default=384)
    options.add_argument("--key", help="the key that it asks for")
    given = options.parse_args()
    with FakeLlm(given.dimensions, given.host, given.port, given.key) as fake:
        print(fake.base_url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
