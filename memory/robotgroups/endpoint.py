"""The HTTP endpoint of a model: JSON there, JSON back. What may pass is tried again, what fails for long is left alone.

Tried again, at most ``TRIES`` times in all, with full jitter and as ``Retry-After`` asks: lost connections, time-outs,
408, 409, 429, 5xx and answers that cannot be read (the list of OpenAI's own client). Only lost connections, time-outs
and 5xx count for the circuit breaker: whoever refuses is there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from robotgroups import fields
from robotgroups.breaker import Breaker
from robotgroups.errors import ArgumentError, ModelError, ModelFailure
from robotgroups.http_client import HttpClient
from robotgroups.refusals import Kinds, MalformedAnswerError, Refusal, Remedy, refusal_of, retry_after, utc_now

OPENAI_URL = "https://api.openai.com/v1"
MAX_TIMEOUT_S = 600.0
TRIES = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
# What wants to be left alone for longer than this is not waited for: the error says when to come back.
LONGEST_RETRY_AFTER_S = 20.0
CONNECT_TIMEOUT_S = 5.0
# 2048 vectors of 1536 numbers as text are 60 MB; nothing sensible is larger.
MAX_ANSWER_BYTES = 128 * 1024 * 1024

T = TypeVar("T")
logger = logging.getLogger(__name__)
_AGAIN = {
    ModelFailure.UNREACHABLE,
    ModelFailure.TIMEOUT,
    ModelFailure.RATE_LIMITED,
    ModelFailure.SERVER_ERROR,
    ModelFailure.MALFORMED_ANSWER,
}


def check_base_url(base_url: str, field: str) -> str:
    """Return a base URL without the slash at its end; ``field`` is what messages call it.

    Raises:
        ArgumentError: it is no http(s) URL with a host, or carries a login, a query or a fragment.

    """
    fields.text(field, base_url)
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ArgumentError(f"{field} is no URL: write it as https://host/v1") from None
    if url.userinfo:
        raise ArgumentError(f"{field} must not carry a login: give the key apart from the settings")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ArgumentError(f"{field} must be an http:// or https:// URL such as https://host/v1, not {base_url!r}")
    if "?" in base_url or "#" in base_url:
        raise ArgumentError(f"{field} must end with its path, as in https://host/v1: leave out what follows ? or #")
    return base_url.rstrip("/")


def check_api_key(api_key: str | None, field: str) -> str | None:
    """Return a key without white space around it, None for a blank one.

    Raises:
        ArgumentError: it cannot be sent in a header. The message does not repeat it.

    """
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ArgumentError(f"{field} holds characters that no header can carry: check how it was stored")
    return key or None


class Endpoint:
    """Posts JSON to paths below a base URL. ``kinds`` are the errors that it raises; ``model`` is named in them.

    ``timeout_s`` is for one try: connecting, sending and reading the whole answer.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        kinds: Kinds,
        model: str,
        timeout_s: float,
        breaker: Breaker | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._base_url = base_url
        self._key = check_api_key(api_key, "the API key")
        self._kinds = kinds
        self._model = model
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()
        self._backoff = wait_random_exponential(multiplier=first_pause_s, max=LONGEST_PAUSE_S)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._http = HttpClient(
            headers=headers, timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def post(self, path: str, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        """Post a JSON object and return what ``read`` makes of the answer's JSON.

        ``read`` raises MalformedAnswerError for an answer that is not what was asked for.

        Raises:
            ModelError: one of ``kinds``, with its reason.

        """
        content = json.dumps(body, separators=(",", ":")).encode()
        retrying = AsyncRetrying(
            retry=retry_if_exception(self._may_pass), stop=stop_after_attempt(TRIES), wait=self._pause, reraise=True
        )
        return await retrying(self._once, path, content, read)

    async def _once(self, path: str, content: bytes, read: Callable[[Any], T]) -> T:
        closed_for = self._breaker.admit(time.monotonic())
        if closed_for > 0:
            message = "has failed repeatedly and is left alone for a while"
            raise self.error(Refusal(Remedy.WAIT, ModelFailure.CIRCUIT_OPEN, message, closed_for))
        status, headers, answer = await self._exchange(self._base_url + path, content)
        refusal = refusal_of(status, self._without_key(answer), retry_after(headers, utc_now()))
        if refusal is not None and refusal.reason is ModelFailure.SERVER_ERROR:
            raise self._broken(refusal.reason, refusal.message, refusal.retry_after)
        self._breaker.succeeded()
        if refusal is not None:
            raise self.error(refusal)
        try:
            return read(json.loads(answer))
        except MalformedAnswerError as error:
            raise self._malformed(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise self._malformed("it is no JSON") from error

    async def _exchange(self, url: str, content: bytes) -> tuple[int, httpx.Headers, bytes]:
        received = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s), self._http.stream("POST", url, content=content) as answer:
                async for chunk in answer.aiter_bytes():
                    received += chunk
                    if len(received) > MAX_ANSWER_BYTES:
                        raise self._malformed(f"it is larger than {MAX_ANSWER_BYTES} bytes")
                return answer.status_code, answer.headers, bytes(received)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise self._broken(ModelFailure.TIMEOUT, f"did not answer within {self._timeout_s:g} s") from error
        except httpx.RequestError as error:
            told = str(error) or type(error).__name__
            raise self._broken(ModelFailure.UNREACHABLE, f"cannot be reached: {told}") from error

    def error(self, refusal: Refusal) -> ModelError:
        """The error of a refusal: it names the endpoint and the model."""
        message = f"{self._kinds.what} {self._base_url} (model {self._model}) {refusal.message}"
        return self._kinds.of(refusal.remedy)(message, refusal.reason, refusal.retry_after)

    def _malformed(self, what: str) -> ModelError:
        message = f"gave an answer that cannot be used: {what}; is it an OpenAI-compatible endpoint?"
        return self.error(Refusal(Remedy.WAIT, ModelFailure.MALFORMED_ANSWER, message))

    def _without_key(self, answer: bytes) -> bytes:
        # some endpoints repeat the key that they refuse; done before anything is cut, or a part of it would stay
        return answer.replace(self._key.encode(), b"***") if self._key else answer

    def _broken(self, reason: ModelFailure, message: str, wanted: float | None = None) -> ModelError:
        if self._breaker.failed(time.monotonic()):
            logger.warning("%s %s is left alone for a while: %s", self._kinds.what, self._base_url, reason)
        return self.error(Refusal(Remedy.WAIT, reason, message, wanted))

    def _may_pass(self, error: BaseException) -> bool:
        return (
            isinstance(error, self._kinds.unavailable)
            and error.reason in _AGAIN
            and (error.retry_after or 0.0) <= LONGEST_RETRY_AFTER_S
        )

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        wanted = error.retry_after if isinstance(error, ModelError) else None
        return max(self._backoff(state), wanted or 0.0)
