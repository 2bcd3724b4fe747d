"""The synchronous face of a memory's later life, for ``RobotGroup`` and ``Client``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from robotgroups.lifecycle_store import HISTORY
from robotgroups.models import Memory
from robotgroups.updating import UNCHANGED, Expiry, MemoryVersion, Updated

P = ParamSpec("P")
T = TypeVar("T")


class _Lifecycle(Protocol):
    """What ``AsyncRobotGroup`` and ``AsyncClient`` have in common."""

    async def get(self, memory_id: int) -> Memory: ...

    async def update(
        self,
        memory_id: int,
        content: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Expiry = UNCHANGED,
    ) -> Updated: ...

    async def history(self, memory_id: int, *, limit: int = HISTORY) -> list[MemoryVersion]: ...

    async def erase(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> int: ...


class SyncLifecycle(ABC):
    """Get, update, history and erase: thin shells, see ``LifecycleVerbs``."""

    @property
    @abstractmethod
    def _lifecycle(self) -> _Lifecycle:
        """The asynchronous core."""

    @abstractmethod
    def _run(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function of the core and wait for it."""

    def get(self, memory_id: int) -> Memory:
        """One memory, be it forgotten."""
        return self._run(self._lifecycle.get, memory_id)

    def update(
        self,
        memory_id: int,
        content: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Expiry = UNCHANGED,
    ) -> Updated:
        """Change what a memory says; what it said before stays in its history."""
        return self._run(
            self._lifecycle.update, memory_id, content, tags=tags, metadata=metadata, expires_at=expires_at
        )

    def history(self, memory_id: int, *, limit: int = HISTORY) -> list[MemoryVersion]:
        """What a memory says and has said, newest first."""
        return self._run(self._lifecycle.history, memory_id, limit=limit)

    def erase(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> int:
        """Remove memories for good; returns how many there were."""
        return self._run(self._lifecycle.erase, ids, scope=scope, tags=tags)
