"""The client's calls for a memory's later life: get, update, history and erase."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from robotgroups.erasing import Erasure
from robotgroups.lifecycle_store import HISTORY
from robotgroups.models import Memory
from robotgroups.updating import UNCHANGED, Expiry, MemoryVersion, Patch, Updated

# Of one request.
_IDS = 1000


class LifecycleCalls(ABC):
    """What ``AsyncClient`` does with memories that it has remembered."""

    @abstractmethod
    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        """Ask the service, and try again until a deadline; its answer's JSON."""

    async def get(self, memory_id: int) -> Memory:
        """One memory, be it forgotten. UnknownMemoryError, also when it has expired."""
        return Memory.from_json(await self._ask("GET", f"/v1/memories/{memory_id}"))

    async def update(
        self,
        memory_id: int,
        content: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Expiry = UNCHANGED,
    ) -> Updated:
        """Change what a memory says; what it said before stays in its history.

        What is None stays; tags and metadata are replaced as a whole. ``expires_at`` None: it does not expire any more.

        Raises:
            UnknownMemoryError: there is none, or it has expired.
            ArgumentError: a value that cannot be, or another memory says this already: the message names it.

        """
        patch = Patch.checked(content, tags=tags, metadata=metadata, expires_at=expires_at)
        answer = await self._ask("PATCH", f"/v1/memories/{memory_id}", json=patch.as_json())
        return Updated(**{field.name: answer[field.name] for field in fields(Updated)})

    async def history(self, memory_id: int, *, limit: int = HISTORY) -> list[MemoryVersion]:
        """What a memory says and has said, newest first. UnknownMemoryError."""
        answer = await self._ask("GET", f"/v1/memories/{memory_id}/history", params={"limit": limit})
        return [MemoryVersion.from_json(version) for version in answer["versions"]]

    async def erase(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> int:
        """Remove memories for good: those with these ids, or those that have all of the scope and all of the tags.

        Returns how many there were; fewer, when the answer to a try before was lost. ArgumentError.
        """
        erasure = Erasure.checked(ids, scope=scope, tags=tags)
        if erasure.ids is None:
            return await self._erase({"scope": dict(scope or {}), "tags": list(erasure.tags)})
        named = erasure.ids
        return sum([await self._erase({"ids": named[at : at + _IDS]}) for at in range(0, len(named), _IDS)])

    async def _erase(self, body: Mapping[str, Any]) -> int:
        count, done = 0, False
        while not done:
            answer = await self._ask("POST", "/v1/erase", json=body)
            count, done = count + answer["erased"], answer["done"]
        return count
