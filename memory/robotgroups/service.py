"""A group's Service over HTTP: one try, many tries, and which error an answer becomes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay
from tenacity.wait import wait_random_exponential

from robotgroups import errors
from robotgroups.http_client import HttpClient

DEADLINE_S = 30.0
# A robot that is stopped, or on a lost node, never answers: its place is taken after a lease (3 s by default), and then
# another try finds its successor. What does take long gets more and more time.
FIRST_TIMEOUT_S, LONGEST_TIMEOUT_S, LEAST_TIMEOUT_S = 4.0, 16.0, 0.1
CONNECT_TIMEOUT_S = 2.0
# Much content is long in the writing, and would be written again by another try: so much more time it gets.
BYTES_A_SECOND = 64 * 1024
# No idle connection outlives a try: the next one may reach another robot.
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=3.0)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0

# The service sends a comment every 15 s when there is no change: longer silence is a lost connection.
FEED_SILENCE_S = 45.0

T = TypeVar("T")
_PROBLEM = "urn:robotgroups:problem:"
_ERRORS: dict[str, Callable[[str], errors.RobotGroupsError]] = {
    "unknown-memory": errors.UnknownMemoryError,
    "no-passive-robot": errors.NoPassiveRobotError,
    "content-too-large": errors.ContentTooLargeError,
    "invalid-request": errors.ArgumentError,
    "idempotency-conflict": errors.IdempotencyConflictError,
    "missing-feature": errors.MissingFeatureError,
    "not-permitted": errors.NotPermittedError,
    "unauthorized": errors.NotPermittedError,
}
_RETRIED = {502, 503, 504}


class AgainError(errors.ServiceError):
    """An answer that another try may change."""


class Service:
    """Asks, and asks again until ``deadline`` seconds have passed."""

    def __init__(
        self, url: str, token: str, deadline: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise errors.ArgumentError(f"url must start with http:// or https://, not {url!r}")
        if deadline <= 0:
            raise errors.ArgumentError(f"deadline must be above 0 seconds, not {deadline}")
        self._deadline = deadline
        self._http = HttpClient(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(LONGEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=LIMITS,
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, method: str, path: str, *, patience: float = FIRST_TIMEOUT_S, **request: Any) -> Any:
        """The JSON of an answer; ``request`` is what httpx takes.

        ``patience``: seconds that the first try gets for an answer, beside what it takes to send much content.

        Raises:
            MemoryUnavailableError: connections were lost until the deadline.
            ServiceError: 409 (not active) or 503 until then; other errors of the library, at once.

        """
        end = time.monotonic() + self._deadline
        hung = 0

        async def attempt() -> Any:
            nonlocal hung
            asked = self._http.build_request(method, path, **request)
            first = patience + int(asked.headers.get("Content-Length", 0)) / BYTES_A_SECOND
            # a try that hangs does not outlive the deadline; the last one still gets a moment
            left = max(end - time.monotonic(), LEAST_TIMEOUT_S)
            allowed = min(left, first * 2**hung, max(first, LONGEST_TIMEOUT_S))
            asked.extensions["timeout"] = httpx.Timeout(allowed, connect=min(left, CONNECT_TIMEOUT_S)).as_dict()
            try:
                return await self._try(asked)
            except (httpx.ReadTimeout, httpx.WriteTimeout):
                hung += 1
                raise

        return await self.retried(attempt)

    async def ask_once(self, method: str, path: str, **request: Any) -> Any:
        """As ``ask``, in one try."""
        try:
            return await self._try(self._http.build_request(method, path, **request))
        except httpx.TransportError as error:
            raise lost(error) from error

    async def open_feed(self, after: int) -> httpx.Response:
        """The stream of changes after a revision, in one try; close it. Its errors are httpx's."""
        request = self._http.build_request(
            "GET", "/v1/events", params={"after": after}, timeout=httpx.Timeout(FIRST_TIMEOUT_S, read=FEED_SILENCE_S)
        )
        answer = await self._http.send(request, stream=True)
        if answer.is_success:
            return answer
        await answer.aread()
        await answer.aclose()
        raise _error_of(answer)

    async def retried(self, call: Callable[[], Awaitable[T]]) -> T:
        """What a call gives at last."""
        try:
            async for attempt in self._tries():
                with attempt:
                    return await call()
        except httpx.TransportError as error:
            raise lost(error) from error
        raise AssertionError("tenacity reraises")

    async def _try(self, request: httpx.Request) -> Any:
        answer = await self._http.send(request)
        if not answer.is_success:
            raise _error_of(answer)
        try:
            return answer.json()
        except ValueError as error:
            raise errors.ServiceError(
                f"{answer.status_code}: the answer is no JSON; is {answer.url} a group's Service?", answer.status_code
            ) from error

    def _tries(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception(lambda e: isinstance(e, (httpx.TransportError, AgainError))),
            stop=stop_after_delay(self._deadline),
            wait=_pause,
            reraise=True,
        )


_backoff = wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)


def _pause(state: RetryCallState) -> float:
    # Retry-After is what a robot says that has lost Postgres; a failover is over sooner: its second is the most we wait
    return min(_backoff(state), LONGEST_PAUSE_S)


def lost(error: httpx.TransportError) -> errors.MemoryUnavailableError:
    """What a lost connection is to the caller."""
    return errors.MemoryUnavailableError(f"the service cannot be reached: {error or type(error).__name__}")


def _error_of(answer: httpx.Response) -> errors.RobotGroupsError:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    return error_of(answer.status_code, problem if isinstance(problem, dict) else {}, answer.reason_phrase)


def error_of(status: int, problem: Mapping[str, Any], reason: str = "") -> errors.RobotGroupsError:
    """The library's error for a problem document (RFC 9457); ``reason`` when it has no words of its own."""
    detail = str(problem.get("detail") or problem.get("title") or reason)
    slug = str(problem.get("type", "")).removeprefix(_PROBLEM)
    if status in _RETRIED or slug == "not-active":
        return AgainError(detail, status, problem)
    if slug in _ERRORS:
        return _ERRORS[slug](detail)
    if slug == "changes-gone" and isinstance(problem.get("pruned_to"), int):
        return errors.PrunedError(detail, problem["pruned_to"])
    if slug == "model-misconfigured" and problem.get("reason") in set(errors.ModelFailure):
        return errors.EmbeddingConfigError(detail, errors.ModelFailure(problem["reason"]))
    return errors.ServiceError(f"{status}: {detail}", status, problem)
