"""For users of a group's Service: a typed HTTP client that rides through failovers.

Lost connections, 409 (not active) and 503 are tried again with backoff until a deadline; a remember carries one
idempotency key through all of its tries, so that it is done once (M2). ``Client`` in ``sync`` is its synchronous face.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay
from tenacity.wait import wait_random_exponential

from robotgroups import errors
from robotgroups import timeframe as timeframes
from robotgroups.client_lifecycle import LifecycleCalls
from robotgroups.context import Context
from robotgroups.draft import Draft
from robotgroups.models import Change, FailoverResult, Memory, Remembered, Revised

DEADLINE_S = 30.0
REQUEST_TIMEOUT_S, LEAST_TIMEOUT_S = 10.0, 0.1
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0

# The service sends a comment every 15 s when there is no change: longer silence is a lost connection.
FEED_SILENCE_S = 45.0
REOPEN_PAUSE_S = 0.1

T = TypeVar("T")
R = TypeVar("R", Remembered, Revised, FailoverResult)
logger = logging.getLogger(__name__)
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


class _AgainError(errors.ServiceError):
    """An answer that another try may change."""


class AsyncClient(LifecycleCalls):
    """Talks to a group through its Service (or to one robot): ``AsyncClient("http://customer-support", token)``.

    ``deadline`` is how long, in seconds, a call goes on trying. What it could not do by then is raised as the last
    try's error: MemoryUnavailableError for lost connections, ServiceError for the answers 503 and 409.
    """

    def __init__(
        self, url: str, token: str, *, deadline: float = DEADLINE_S, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise errors.ArgumentError(f"url must start with http:// or https://, not {url!r}")
        if deadline <= 0:
            raise errors.ArgumentError(f"deadline must be above 0 seconds, not {deadline}")
        self._deadline = deadline
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {token}"},
            timeout=REQUEST_TIMEOUT_S,
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def remember(
        self,
        content: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        originator: str | None = None,
        key: str | None = None,
    ) -> Remembered:
        """Remember once, durable when it returns. ``key`` None: a new one, for all tries of this call.

        Raises:
            ArgumentError, IdempotencyConflictError, NotPermittedError.
            MemoryUnavailableError, ServiceError: not acknowledged by the deadline.

        """
        draft = Draft.checked(content, tags=tags, metadata=metadata)
        body: dict[str, Any] = {"content": draft.content, "tags": draft.tags, "metadata": draft.metadata}
        if originator is not None:
            body["originator"] = originator
        answer = await self._ask("POST", "/v1/memories", json=body, headers={"Idempotency-Key": key or uuid4().hex})
        return _read(Remembered, answer)

    async def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        strategy: str = "fulltext",
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        timeframe: timeframes.Timeframe | None = None,
    ) -> list[Memory]:
        """Search long-term memory, best match first."""
        parameters: dict[str, Any] = {"q": query, "limit": limit, "strategy": strategy, "tag": list(tags)}
        if metadata:
            parameters["metadata"] = json.dumps(metadata)
        if timeframe is not None:
            # words are read where the memory is, by its clock
            parameters["timeframe"] = timeframe if isinstance(timeframe, str) else timeframes.interval(timeframe)
        answer = await self._ask("GET", "/v1/recall", params=parameters)
        return [Memory.from_json(m) for m in answer["memories"]]

    async def working_memory(self) -> list[Memory]:
        """The working set of the robot that answers, oldest first."""
        return [Memory.from_json(m) for m in (await self._ask("GET", "/v1/working-memory"))["memories"]]

    async def context(
        self, *, strategy: str = "balanced", max_tokens: int | None = None, query: str | None = None
    ) -> Context:
        """The working set as text for an LLM, within a token budget, what matches ``query`` first."""
        parameters: dict[str, Any] = {"strategy": strategy}
        if query is not None:
            parameters["query"] = query
        if max_tokens is not None:
            parameters["max_tokens"] = max_tokens
        answer = await self._ask("GET", "/v1/context", params=parameters)
        return Context(answer["text"], answer["tokens"], tuple(answer["memory_ids"]), answer["revision"])

    async def status(self) -> dict[str, Any]:
        """The group's status (design §5), with the robot that answers as ``robot``."""
        return dict(await self._ask("GET", "/v1/status"))

    async def forget(self, memory_id: int) -> Revised:
        """Hide a memory until it is restored. UnknownMemoryError."""
        return _read(Revised, await self._ask("DELETE", f"/v1/memories/{memory_id}"))

    async def restore(self, memory_id: int) -> Revised:
        """Bring a forgotten memory back. UnknownMemoryError."""
        return _read(Revised, await self._ask("POST", f"/v1/memories/{memory_id}/restore"))

    async def clear_working_memory(self) -> int:
        """Empty the working set; returns how many left it (0 when a try before had done it and its answer was lost)."""
        return int((await self._ask("DELETE", "/v1/working-memory"))["cleared"])

    async def failover(self, robot: str | None = None) -> FailoverResult:
        """Replace an active robot. Sent once: a lost answer is not tried again, it could be a second failover.

        Raises:
            NoPassiveRobotError: nobody can take over.

        """
        try:
            return _read(FailoverResult, await self._once("POST", "/v1/failover", json={"robot": robot}))
        except httpx.TransportError as error:
            raise _lost(error) from error

    async def events(self, after: int | None = None) -> AsyncGenerator[Change, None]:
        """Changes after a revision (None: from now on), without end and without gaps, over lost connections (M5).

        Raises:
            PrunedError: the next ones are gone; start from the working memory.
            MemoryUnavailableError, ServiceError: no connection to the feed for a whole deadline.

        """
        seen = int((await self.status())["revision"]) if after is None else after
        while True:
            answer = await self._retried(partial(self._open_feed, seen))
            try:
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        change = Change.from_json(json.loads(line.removeprefix("data:")))
                        seen = change.revision
                        yield change
            except httpx.TransportError as error:
                logger.info("the feed was lost after revision %d, going on there: %r", seen, error)
            finally:
                await answer.aclose()
            await asyncio.sleep(REOPEN_PAUSE_S)

    # -- one try, and many -------------------------------------------------------------------------------------------

    async def _open_feed(self, after: int) -> httpx.Response:
        request = self._http.build_request(
            "GET", "/v1/events", params={"after": after}, timeout=httpx.Timeout(REQUEST_TIMEOUT_S, read=FEED_SILENCE_S)
        )
        answer = await self._http.send(request, stream=True)
        if answer.is_success:
            return answer
        await answer.aread()
        await answer.aclose()
        raise _error_of(answer)

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        end = time.monotonic() + self._deadline

        async def once() -> Any:
            # a try that hangs does not outlive the deadline; the last one still gets a moment
            left = max(end - time.monotonic(), LEAST_TIMEOUT_S)
            return await self._once(method, path, timeout=min(left, REQUEST_TIMEOUT_S), **request)

        return await self._retried(once)

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async for attempt in self._tries():
                with attempt:
                    return await call()
        except httpx.TransportError as error:
            raise _lost(error) from error
        raise AssertionError("tenacity reraises")

    async def _once(self, method: str, path: str, **request: Any) -> Any:
        answer = await self._http.request(method, path, **request)
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
            retry=retry_if_exception(lambda e: isinstance(e, (httpx.TransportError, _AgainError))),
            stop=stop_after_delay(self._deadline),
            wait=_pause,
            reraise=True,
        )


_backoff = wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)


def _pause(state: RetryCallState) -> float:
    # Retry-After is what a robot says that has lost Postgres; a failover is over sooner: its second is the most we wait
    return min(_backoff(state), LONGEST_PAUSE_S)


def _read(kind: type[R], answer: Mapping[str, Any]) -> R:
    """A result out of an answer; what a newer service says beyond it is passed over."""
    return kind(**{field.name: answer[field.name] for field in fields(kind)})


def _lost(error: httpx.TransportError) -> errors.MemoryUnavailableError:
    return errors.MemoryUnavailableError(f"the service cannot be reached: {error or type(error).__name__}")


def _error_of(answer: httpx.Response) -> errors.RobotGroupsError:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = str(problem.get("detail") or problem.get("title") or answer.reason_phrase)
    slug = str(problem.get("type", "")).removeprefix(_PROBLEM)
    if answer.status_code in _RETRIED or slug == "not-active":
        return _AgainError(detail, answer.status_code, problem)
    if slug == "pruned":
        return errors.PrunedError(detail, int(problem["oldest"]) - 1)
    if slug in _ERRORS:
        return _ERRORS[slug](detail)
    return errors.ServiceError(f"{answer.status_code}: {detail}", answer.status_code, problem)
