"""The synchronous client of a group's Service: a thin shell over ``AsyncClient``."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from robotgroups.client import DEADLINE_S, AsyncClient
from robotgroups.loop import Loop
from robotgroups.models import Change, FailoverResult, Remembered, Revised, SwitchoverResult
from robotgroups.recall import Recalled
from robotgroups.remembering import NewMemory
from robotgroups.sync_relations import ConnectionFace
from robotgroups.sync_verbs import SyncVerbs
from robotgroups.timeframe import Timeframe


class Client(SyncVerbs, ConnectionFace):
    """A group's Service, synchronously: see ``AsyncClient``, whose methods these are."""

    def __init__(self, url: str, token: str, *, deadline: float = DEADLINE_S) -> None:
        self._client = AsyncClient(url, token, deadline=deadline)
        self._loop = Loop(f"client of {url}")
        self._open = True

    def close(self) -> None:
        """Close the connections. Safe to call twice."""
        if self._open:
            self._open = False
            try:
                self._loop.run(self._client.aclose)
            finally:
                self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _core(self) -> AsyncClient:
        return self._client

    def remember(
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
        """Remember once, durable when it returns."""
        return self._loop.run(
            self._client.remember,
            content,
            tags=tags,
            metadata=metadata,
            originator=originator,
            key=key,
            scope=scope,
            expires_at=expires_at,
        )

    def remember_many(self, memories: Sequence[NewMemory]) -> list[Remembered]:
        """Remember many, in as few requests as they fit into; the acknowledgements in their order."""
        return self._loop.run(self._client.remember_many, memories)

    def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        strategy: str = "fulltext",
        timeframe: Timeframe | None = None,
        timezone: str = "UTC",
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        originators: Sequence[str] = (),
        include_forgotten: bool = False,
        into_working_memory: bool = False,
        weights: Mapping[str, float] | None = None,
        relevance: bool | Mapping[str, float] = False,
        explain: bool = False,
        widen: int = 0,
    ) -> Recalled:
        """Search long-term memory, best match first."""
        return self._loop.run(
            self._client.recall,
            query,
            limit=limit,
            strategy=strategy,
            tags=tags,
            metadata=metadata,
            timeframe=timeframe,
            timezone=timezone,
            scope=scope,
            originators=originators,
            include_forgotten=include_forgotten,
            into_working_memory=into_working_memory,
            weights=weights,
            relevance=relevance,
            explain=explain,
            widen=widen,
        )

    def status(self) -> dict[str, Any]:
        """The group's status."""
        return self._loop.run(self._client.status)

    def forget(self, memory_id: int) -> Revised:
        """Hide a memory until it is restored."""
        return self._loop.run(self._client.forget, memory_id)

    def restore(self, memory_id: int) -> Revised:
        """Bring a forgotten memory back."""
        return self._loop.run(self._client.restore, memory_id)

    def failover(self, robot: str | None = None) -> FailoverResult:
        """Replace an active robot."""
        return self._loop.run(self._client.failover, robot)

    def switchover(self, to: str | None = None, *, source: str | None = None) -> SwitchoverResult:
        """Let a passive robot take over without a failed request."""
        return self._loop.run(self._client.switchover, to, source=source)

    def events(self, after: int | None = None) -> Generator[Change, None, None]:
        """Changes after a revision (None: from now on), without end."""
        feed = self._client.events(after)
        try:
            while True:
                yield self._loop.run(feed.__anext__)
        finally:
            self._loop.run(feed.aclose)
