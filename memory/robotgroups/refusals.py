"""What an OpenAI-compatible endpoint means when it does not do what it was asked: its status and body, read. No I/O."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus

from robotgroups import errors
from robotgroups.errors import ModelFailure

LONGEST_DETAIL = 300
# How OpenAI, Ollama, vLLM, llama.cpp and text-embeddings-inference word it.
_TOO_LONG = re.compile(
    r"context[ _](?:length|size)|too (?:long|large|many tokens)|maximum (?:input|sequence|context|number of tokens)"
    r"|max(?:imum)?_?(?:tokens|length)|exceeds? the (?:limit|maximum|model)|less than \d+ tokens",
    re.IGNORECASE,
)
# An error of the server that says so is told apart from one that took too long: it names what was sent (Ollama and
# llama.cpp answer 500).
_INPUT_TOO_LONG = re.compile(
    r"context[ _](?:length|size)|maximum (?:input|sequence|context|number of tokens)|less than \d+ tokens"
    r"|(?:input|prompt|sequence|text)s?\b(?:(?!\btook\b)[^.])*\btoo (?:long|large|many tokens)",
    re.IGNORECASE,
)
_SHORTEN = "the text is too long for the model"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Remedy(Enum):
    """What helps: to wait, to put settings right, or another text."""

    WAIT = auto()
    SETTINGS = auto()
    TEXT = auto()


@dataclass(frozen=True, slots=True)
class Kinds:
    """The errors of one use of endpoints; ``what`` is what messages call the endpoint."""

    what: str
    unavailable: type[errors.ModelError]
    config: type[errors.ModelError]
    input: type[errors.ModelError]

    def of(self, remedy: Remedy) -> type[errors.ModelError]:
        """The error that asks for a remedy."""
        return {Remedy.WAIT: self.unavailable, Remedy.SETTINGS: self.config, Remedy.TEXT: self.input}[remedy]


EMBEDDING = Kinds(
    "the embedding endpoint",
    errors.EmbeddingUnavailableError,
    errors.EmbeddingConfigError,
    errors.EmbeddingInputError,
)
EXTRACTION = Kinds(
    "the extraction endpoint",
    errors.ExtractionUnavailableError,
    errors.ExtractionConfigError,
    errors.ExtractionInputError,
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing came of a request. ``message`` goes on from the endpoint's name; ``retry_after`` is in seconds."""

    remedy: Remedy
    reason: ModelFailure
    message: str
    retry_after: float | None = None


class MalformedAnswerError(Exception):
    """An answer is not what was asked for; the message says what is wrong with it."""


_STATUSES: dict[int, tuple[Remedy, ModelFailure, str]] = {
    HTTPStatus.UNAUTHORIZED: (Remedy.SETTINGS, ModelFailure.UNAUTHORIZED, "check the API key"),
    HTTPStatus.FORBIDDEN: (Remedy.SETTINGS, ModelFailure.UNAUTHORIZED, "check what the API key may be used for"),
    HTTPStatus.PAYMENT_REQUIRED: (Remedy.WAIT, ModelFailure.QUOTA_EXHAUSTED, "its account has no quota left"),
    HTTPStatus.REQUEST_TIMEOUT: (Remedy.WAIT, ModelFailure.TIMEOUT, ""),
    HTTPStatus.CONFLICT: (Remedy.WAIT, ModelFailure.RATE_LIMITED, ""),
    HTTPStatus.TOO_MANY_REQUESTS: (Remedy.WAIT, ModelFailure.RATE_LIMITED, ""),
    HTTPStatus.BAD_REQUEST: (Remedy.TEXT, ModelFailure.REFUSED, ""),
    HTTPStatus.UNPROCESSABLE_ENTITY: (Remedy.TEXT, ModelFailure.REFUSED, ""),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (Remedy.TEXT, ModelFailure.TOO_LONG, _SHORTEN),
}
_SERVER_ERROR = (Remedy.WAIT, ModelFailure.SERVER_ERROR, "")
_ANY_OTHER = (Remedy.SETTINGS, ModelFailure.NOT_FOUND, "check the base URL and the model's name")


def refusal_of(status: int, body: bytes, wait: float | None) -> Refusal | None:
    """What an answer other than 2xx means; None for 2xx. ``wait`` is what ``Retry-After`` asked for, in seconds."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    detail, code = _detail(body)
    other = _SERVER_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _ANY_OTHER
    remedy, reason, advice = _STATUSES.get(status, other)
    if code == "insufficient_quota":
        remedy, reason, advice = _STATUSES[HTTPStatus.PAYMENT_REQUIRED]
    elif _tells_too_long(reason, code, detail):
        remedy, reason, advice = _STATUSES[HTTPStatus.REQUEST_ENTITY_TOO_LARGE]
    message = f"answered {status}" + (f" ({detail})" if detail else "") + (f": {advice}" if advice else "")
    return Refusal(remedy, reason, message, wait if remedy is Remedy.WAIT else None)


def _tells_too_long(reason: ModelFailure, code: str, detail: str) -> bool:
    wording = {ModelFailure.REFUSED: _TOO_LONG, ModelFailure.SERVER_ERROR: _INPUT_TOO_LONG}.get(reason)
    return wording is not None and (code == "context_length_exceeded" or wording.search(detail) is not None)


def _detail(body: bytes) -> tuple[str, str]:
    """The message and the code of an error's body: OpenAI's, Ollama's, vLLM's and FastAPI's shapes, or plain text."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return _short(body.decode(errors="replace")), ""
    if isinstance(document, dict):
        inner = document.get("error", document)
        if isinstance(inner, dict):
            text = inner.get("message") or inner.get("detail") or inner.get("error") or inner
            return _short(text if isinstance(text, str) else json.dumps(text)), str(inner.get("code") or "")
        document = inner
    return _short(document if isinstance(document, str) else json.dumps(document)), ""


def _short(text: str) -> str:
    """One line of it, with nothing that Postgres does not store: JSON may carry NUL and lone surrogates."""
    text = " ".join(_UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text).split())
    return text if len(text) <= LONGEST_DETAIL else text[:LONGEST_DETAIL] + "…"


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """How many seconds ``Retry-After`` (a number or a date, RFC 9110) or ``Retry-After-Ms`` asks for.

    None when it asks for nothing that can be read; 0 when the date is past.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(name))
        if seconds is not None:
            return max(seconds / unit, 0.0)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max((date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds(), 0.0)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def utc_now() -> datetime:
    """The time, for dates in headers."""
    return datetime.now(UTC)
