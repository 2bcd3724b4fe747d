"""For users of a group's Service: a typed HTTP client that rides through failovers.

Lost connections, 409 (not active) and 503 are tried again with backoff until a deadline; a remember carries one
idempotency key through all of its tries, so that it is done once (M2). ``Client`` in ``sync`` is its synchronous face.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from robotgroups import timeframe as timeframes
from robotgroups.client_relations import ConnectionCalls
from robotgroups.context import Context
from robotgroups.draft import Draft
from robotgroups.erasing import Erasure
from robotgroups.errors import ArgumentError
from robotgroups.limits import check_scope, check_time
from robotgroups.models import Change, FailoverResult, Memory, Remembered, Revised, SwitchoverResult
from robotgroups.recall import Recalled, check_originators
from robotgroups.remembering import NewMemory
from robotgroups.service import DEADLINE_S, LONGEST_TIMEOUT_S, Service, error_of
from robotgroups.tags import check_tags
from robotgroups.updating import HISTORY, UNCHANGED, Expiry, MemoryVersion, Patch, Updated

__all__ = ["DEADLINE_S", "AsyncClient"]

REOPEN_PAUSE_S = 0.1
# What one request may carry: as many memories as the service takes at once, and of its 1 MiB what leaves some room.
BATCH_MEMORIES, BATCH_BYTES, BATCH_IDS = 256, 900_000, 1000

R = TypeVar("R", Remembered, Revised, Updated, FailoverResult, SwitchoverResult)
logger = logging.getLogger(__name__)


class AsyncClient(ConnectionCalls):
    """Talks to a group through its Service (or to one robot): ``AsyncClient("http://customer-support", token)``.

    ``token`` is the group's, or one that ``scoped_token`` has limited to a scope: then no other memory exists for it,
    and what concerns all of them raises NotPermittedError. ``deadline`` is how long, in seconds, a call goes on trying.
    What it could not do by then is raised as the last try's error: MemoryUnavailableError for lost connections,
    ServiceError for the answers 503 and 409.
    """

    def __init__(
        self, url: str, token: str, *, deadline: float = DEADLINE_S, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._service = Service(url, token, deadline, transport)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._service.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        return await self._service.ask(method, path, **request)

    # -- writing and searching ---------------------------------------------------------------------------------------

    async def remember(
        self,
        content: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        originator: str | None = None,
        key: str | None = None,
        scope: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
    ) -> Remembered:
        """Remember once, durable when it returns. ``key`` None: a new one, for all tries of this call.

        See ``NewMemory`` for the arguments.

        Raises:
            ArgumentError, IdempotencyConflictError, NotPermittedError.
            MemoryUnavailableError, ServiceError: not acknowledged by the deadline.

        """
        body = _item(NewMemory(content, tags, metadata, originator, None, scope, expires_at))
        headers = {"Idempotency-Key": key or uuid4().hex}
        return _read(Remembered, await self._service.ask("POST", "/v1/memories", json=body, headers=headers))

    async def remember_many(self, memories: Sequence[NewMemory]) -> list[Remembered]:
        """Remember many, in as few requests as they fit into; the acknowledgements in their order.

        Each is remembered once: those without a key get one.

        Raises:
            ArgumentError: one of them is wrong; the message tells which, and nothing is remembered.
            ArgumentError, IdempotencyConflictError, NotPermittedError: the service has refused one; a note tells which.
                Others may have been remembered, and to try all of them again is safe (M2).
            MemoryUnavailableError, ServiceError: as ``remember``; likewise.

        """
        texts = []
        for place, memory in enumerate(memories):
            try:
                texts.append(_json(_item(memory) | {"key": memory.key or uuid4().hex}))
            except ArgumentError as error:
                error.add_note(f"it is memory {place} of {len(memories)}")
                raise
        done: list[Remembered] = []
        for batch in batches(texts):
            answer = await self._service.ask(
                "POST",
                "/v1/memories/batch",
                content=b'{"memories":[' + b",".join(batch) + b"]}",
                headers={"Content-Type": "application/json"},
            )
            for outcome in answer["outcomes"]:
                if outcome.get("problem"):
                    refused = error_of(outcome["status"], outcome["problem"])
                    refused.add_note(f"it is memory {len(done)} of {len(memories)}")
                    raise refused
                done.append(_read(Remembered, outcome["memory"]))
        return done

    async def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        strategy: str = "fulltext",
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        timeframe: timeframes.Timeframe | None = None,
        timezone: str = "UTC",
        scope: Mapping[str, str] | None = None,
        originators: Sequence[str] = (),
        include_forgotten: bool = False,
        into_working_memory: bool = False,
        weights: Mapping[str, float] | None = None,
        relevance: bool | Mapping[str, float] = False,
        explain: bool = False,
        widen: int = 0,
    ) -> Recalled:
        """Search long-term memory, best match first: see ``RecallVerbs.recall``.

        Raises:
            ArgumentError, MissingFeatureError, NotPermittedError, EmbeddingConfigError.
            MemoryUnavailableError, ServiceError: not answered by the deadline.

        """
        body: dict[str, Any] = {"query": query, "limit": limit, "strategy": strategy}
        zone = timeframes.zone_named(timezone)
        if timeframe is not None:
            # words are read where the memory is, by its clock
            body["timeframe"] = timeframe if isinstance(timeframe, str) else timeframes.interval(timeframe, zone)
        if zone is not UTC:
            body["timezone"] = timezone
        more = {
            "tags": check_tags(tags),
            "metadata": dict(metadata or {}),
            "scope": check_scope(scope),
            "originators": check_originators(originators),
            "include_forgotten": include_forgotten,
            "into_working_memory": into_working_memory,
            "weights": dict(weights or {}),
            "relevance": relevance if isinstance(relevance, bool) else dict(relevance),
            "explain": explain,
            "widen": widen,
        }
        # an empty mapping of relevance is its weights as they are, not none
        body |= {name: value for name, value in more.items() if value or (name == "relevance" and value is not False)}
        answer = await self._service.ask("POST", "/v1/recall", json=body)
        return Recalled((Memory.from_json(m) for m in answer["memories"]), answer.get("unembedded"))

    # -- working memory ----------------------------------------------------------------------------------------------

    async def working_memory(self) -> list[Memory]:
        """The working set of the robot that answers, oldest first."""
        return [Memory.from_json(m) for m in (await self._service.ask("GET", "/v1/working-memory"))["memories"]]

    async def context(
        self,
        *,
        strategy: str = "balanced",
        max_tokens: int | None = None,
        query: str | None = None,
        scope: Mapping[str, str] | None = None,
    ) -> Context:
        """The working set as text for an LLM, within a token budget, what matches ``query`` first.

        ``scope``: only memories that belong to it.
        """
        parameters: dict[str, Any] = {"strategy": strategy}
        if query is not None:
            parameters["query"] = query
        if max_tokens is not None:
            parameters["max_tokens"] = max_tokens
        if scope:
            parameters["scope"] = json.dumps(check_scope(scope))
        answer = await self._service.ask("GET", "/v1/context", params=parameters)
        return Context(answer["text"], answer["tokens"], tuple(answer["memory_ids"]), answer["revision"])

    async def pin(self, *memory_ids: int) -> int:
        """Keep memories in the working set until they are unpinned; returns how many were not.

        Raises:
            ArgumentError: they do not fit beside what is pinned.
            UnknownMemoryError.

        """
        return await self._pin("POST", memory_ids)

    async def unpin(self, *memory_ids: int) -> int:
        """Let pinned memories go as others do; returns how many were pinned. UnknownMemoryError."""
        return await self._pin("DELETE", memory_ids)

    async def _pin(self, method: str, memory_ids: Sequence[int]) -> int:
        if not memory_ids:
            return 0
        return int((await self._service.ask(method, "/v1/working-memory/pins", json={"ids": memory_ids}))["changed"])

    async def clear_working_memory(self) -> int:
        """Empty the working set; returns how many left it (0 when a try before had done it and its answer was lost)."""
        return int((await self._service.ask("DELETE", "/v1/working-memory"))["cleared"])

    # -- the life of a memory ----------------------------------------------------------------------------------------

    async def get(self, memory_id: int) -> Memory:
        """One memory, be it forgotten. UnknownMemoryError, also when it has expired."""
        return Memory.from_json(await self._service.ask("GET", f"/v1/memories/{memory_id}"))

    async def update(
        self,
        memory_id: int,
        content: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Expiry = UNCHANGED,
    ) -> Updated:
        """Change what a memory says; what it said before stays in its history: see ``LifecycleVerbs.update``.

        Raises:
            UnknownMemoryError, ArgumentError.

        """
        patch = Patch.checked(content, tags=tags, metadata=metadata, expires_at=expires_at)
        body = {name: v for name in ("content", "tags", "metadata") if (v := getattr(patch, name)) is not None}
        if patch.expires_at is not UNCHANGED:
            body["expires_at"] = patch.expires_at and patch.expires_at.isoformat()
        return _read(Updated, await self._service.ask("PATCH", f"/v1/memories/{memory_id}", json=body))

    async def history(self, memory_id: int, *, limit: int = HISTORY) -> list[MemoryVersion]:
        """What a memory says and has said, newest first. UnknownMemoryError."""
        answer = await self._service.ask("GET", f"/v1/memories/{memory_id}/history", params={"limit": limit})
        return [MemoryVersion.from_json(version) for version in answer["versions"]]

    async def propositions(self, memory_id: int) -> list[str]:
        """The statements that a language model made of a memory; [] until they are extracted. UnknownMemoryError."""
        return list((await self._service.ask("GET", f"/v1/memories/{memory_id}/propositions"))["propositions"])

    async def forget(self, memory_id: int) -> Revised:
        """Hide a memory until it is restored. UnknownMemoryError."""
        return _read(Revised, await self._service.ask("DELETE", f"/v1/memories/{memory_id}"))

    async def restore(self, memory_id: int) -> Revised:
        """Bring a forgotten memory back. UnknownMemoryError."""
        return _read(Revised, await self._service.ask("POST", f"/v1/memories/{memory_id}/restore"))

    async def erase(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> int:
        """Remove memories for good: see ``LifecycleVerbs.erase``. Returns how many there still were at the last try.

        Raises:
            ArgumentError: neither ids nor a scope nor tags.

        """
        erasure = Erasure.checked(ids, scope=scope, tags=tags)
        if erasure.ids is None:
            return await self._erase({"scope": check_scope(scope), "tags": erasure.tags})
        return sum([await self._erase({"ids": ids}) for ids in _runs(erasure.ids)])

    async def _erase(self, body: Mapping[str, Any]) -> int:
        path, patience = "/v1/memories/erase", LONGEST_TIMEOUT_S  # they may be thousands
        return int((await self._service.ask("POST", path, json=body, patience=patience))["erased"])

    # -- the group ---------------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """The group's status (design §5), with the robot that answers as ``robot``."""
        return dict(await self._service.ask("GET", "/v1/status"))

    async def failover(self, robot: str | None = None) -> FailoverResult:
        """Replace an active robot. Sent once: a lost answer is not tried again, it could be a second failover.

        Raises:
            NoPassiveRobotError: nobody can take over.

        """
        return _read(FailoverResult, await self._service.ask_once("POST", "/v1/failover", json={"robot": robot}))

    async def switchover(self, to: str | None = None, *, source: str | None = None) -> SwitchoverResult:
        """Let ``to``, else the best passive robot, take over from ``source``, else from the first active one.

        No request fails by it. Sent once, as a failover is.

        Raises:
            NoPassiveRobotError: nobody can take over, or ``to`` cannot yet.
            ArgumentError: ``source`` is not active, ``to`` not passive, or the group is suspended.

        """
        answer = await self._service.ask_once("POST", "/v1/switchover", json={"robot": source, "to": to})
        return _read(SwitchoverResult, answer)

    async def events(self, after: int | None = None) -> AsyncGenerator[Change, None]:
        """Changes after a revision (None: from now on), without end and without gaps, over lost connections (M5).

        Raises:
            PrunedError: the next ones are gone; start from the working memory.
            MemoryUnavailableError, ServiceError: no connection to the feed for a whole deadline.

        """
        seen = int((await self.status())["revision"]) if after is None else after
        while True:
            answer = await self._service.retried(partial(self._service.open_feed, seen))
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


def _item(memory: NewMemory) -> dict[str, Any]:
    """The body of a memory, checked here: what the service would refuse is not sent. ArgumentError and its kinds."""
    draft = Draft.checked(memory.content, tags=memory.tags, metadata=memory.metadata, scope=memory.scope)
    body: dict[str, Any] = {"content": draft.content, "tags": draft.tags, "metadata": draft.metadata}
    if memory.originator is not None:
        body["originator"] = memory.originator
    if draft.scope:
        body["scope"] = draft.scope
    if memory.expires_at is not None:
        body["expires_at"] = check_time(memory.expires_at, "expires_at").isoformat()
    return body


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def batches(items: Iterable[bytes], most: int = BATCH_MEMORIES, size: int = BATCH_BYTES) -> list[list[bytes]]:
    """Cut items into runs of at most ``most`` and ``size`` bytes; what alone is larger is a run of its own."""
    runs: list[list[bytes]] = []
    room = 0
    for item in items:
        if not runs or len(runs[-1]) == most or len(item) >= room:
            runs.append([])
            room = size
        runs[-1].append(item)
        room -= len(item) + 1
    return runs


def _runs(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[at : at + BATCH_IDS] for at in range(0, len(ids), BATCH_IDS)]


def _read(kind: type[R], answer: Mapping[str, Any]) -> R:
    """A result out of an answer; what a newer service says beyond it is passed over."""
    return kind(**{field.name: answer[field.name] for field in fields(kind)})
