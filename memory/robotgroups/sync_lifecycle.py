"""A memory's later life, synchronously: thin shells over what ``AsyncRobotGroup`` and ``AsyncClient`` both do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from robotgroups.lifecycle_store import HISTORY
from robotgroups.models import Memory
from robotgroups.updating import UNCHANGED, Expiry, MemoryVersion, Updated

if TYPE_CHECKING:
    from robotgroups.client import AsyncClient
    from robotgroups.group import AsyncRobotGroup

P = ParamSpec("P")
T = TypeVar("T")


class Runner(Protocol):
    """Runs coroutine functions on a loop of its own."""

    def run(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one there and wait for what it returns or raises."""


class LifecycleFace(ABC):
    """The synchronous methods of ``RobotGroup`` and ``Client`` alike; see ``LifecycleVerbs`` for what they do."""

    _loop: Runner

    @property
    @abstractmethod
    def _connected(self) -> AsyncRobotGroup | AsyncClient:
        """Whose methods these are."""

    def get(self, memory_id: int) -> Memory:
        """One memory, be it forgotten."""
        return self._loop.run(self._connected.get, memory_id)

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
        return self._loop.run(
            self._connected.update, memory_id, content, tags=tags, metadata=metadata, expires_at=expires_at
        )

    def history(self, memory_id: int, *, limit: int = HISTORY) -> list[MemoryVersion]:
        """What a memory says and has said, newest first."""
        return self._loop.run(self._connected.history, memory_id, limit=limit)

    def erase(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> int:
        """Remove memories for good; returns how many there were."""
        return self._loop.run(self._connected.erase, ids, scope=scope, tags=tags)
