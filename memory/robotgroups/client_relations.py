"""Relations, tags and files over HTTP: what ``AsyncClient`` can do beside remembering and recalling."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from robotgroups.file_loading import FileLoading
from robotgroups.filing import CHUNK_TOKENS, FileSync, LoadedFile, Unloaded
from robotgroups.limits import check_scope
from robotgroups.relating import FIND_LIMIT
from robotgroups.relations import RELATED_LIMIT, Related, check_kind, check_weight, walk_of
from robotgroups.service import LONGEST_TIMEOUT_S
from robotgroups.tagging import TAGS_LIMIT, TagCount, Tagged
from robotgroups.tags import TagMatch, TagNode, check_tags

R = TypeVar("R", FileSync, Unloaded, TagCount, TagMatch)


class ConnectionCalls(FileLoading, ABC):
    """What connects memories; the methods of ``AsyncRobotGroup``, through the service."""

    @abstractmethod
    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        """Send a request until it is answered; the answer's JSON."""

    async def relate(self, source: int, target: int, kind: str, weight: float = 1.0) -> bool:
        """Say that a memory is related to another; whether that is new (not, when a try before had done it).

        Raises:
            UnknownMemoryError, ArgumentError.

        """
        body = {"source": source, "target": target, "kind": check_kind(kind), "weight": check_weight(weight)}
        return bool((await self._ask("POST", "/v1/relations", json=body))["created"])

    async def unrelate(self, source: int, target: int, kind: str) -> bool:
        """Take a relation back; whether it stood. ArgumentError."""
        relation = {"source": source, "target": target, "kind": check_kind(kind)}
        return bool((await self._ask("DELETE", "/v1/relations", params=relation))["removed"])

    async def related(
        self,
        memory_id: int,
        *,
        depth: int = 1,
        min_weight: float = 0.0,
        kinds: Sequence[str] | None = None,
        scope: Mapping[str, str] | None = None,
        limit: int = RELATED_LIMIT,
    ) -> list[Related]:
        """What a memory is related to, the strongest first. UnknownMemoryError, ArgumentError."""
        walk = walk_of(depth=depth, min_weight=min_weight, kinds=kinds, scope=scope, limit=limit)
        if walk.kinds == ():
            return []
        parameters: dict[str, Any] = {"depth": walk.depth, "min_weight": walk.min_weight, "limit": walk.limit}
        if walk.kinds is not None:
            parameters["kind"] = list(walk.kinds)
        answer = await self._ask("GET", f"/v1/memories/{memory_id}/related", params=parameters | _scope(scope))
        return [Related.from_json(r) for r in answer["related"]]

    async def tags(self, *, scope: Mapping[str, str] | None = None, limit: int = TAGS_LIMIT) -> list[TagCount]:
        """The tags of memories that are not forgotten, the most used first. ArgumentError."""
        answer = await self._ask("GET", "/v1/tags", params={"limit": limit, **_scope(scope)})
        return [_read(TagCount, t) for t in answer["tags"]]

    async def tag_tree(self, *, scope: Mapping[str, str] | None = None) -> TagNode:
        """The tree of the tags; its root has no name."""
        return _node(await self._ask("GET", "/v1/tags/tree", params=_scope(scope)))

    async def find_tags(
        self, query: str, *, limit: int = FIND_LIMIT, scope: Mapping[str, str] | None = None
    ) -> list[TagMatch]:
        """Tags like a query with typos, the likest first. ArgumentError."""
        answer = await self._ask("GET", "/v1/tags/find", params={"q": query, "limit": limit, **_scope(scope)})
        return [_read(TagMatch, t) for t in answer["tags"]]

    async def tag(self, memory_id: int, *tags: str) -> Tagged:
        """Give a memory more tags. UnknownMemoryError, ArgumentError."""
        body = {"tags": list(check_tags(tags))}
        return _tagged(await self._ask("POST", f"/v1/memories/{memory_id}/tags", json=body))

    async def untag(self, memory_id: int, *tags: str) -> Tagged:
        """Take tags from a memory. UnknownMemoryError, ArgumentError."""
        return _tagged(await self._ask("DELETE", f"/v1/memories/{memory_id}/tags", params={"tag": list(tags)}))

    async def load_text(
        self,
        path: str,
        text: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> FileSync:
        """Load what a file says under a path; else as ``load_file``. The service takes about 1 MB at once.

        Raises:
            ContentTooLargeError: more than that. ArgumentError.

        """
        body = {
            "path": path,
            "text": text,
            "tags": check_tags(tags),
            "metadata": dict(metadata or {}),
            "scope": check_scope(scope),
            "chunk_tokens": chunk_tokens,
        }
        return _read(FileSync, await self._ask("PUT", "/v1/files", json=body))

    async def files(self, *, scope: Mapping[str, str] | None = None) -> list[LoadedFile]:
        """The files that are loaded, by path; with ``scope`` those whose scope holds it. InvalidScopeError."""
        return [LoadedFile.from_json(f) for f in (await self._ask("GET", "/v1/files", params=_scope(scope)))["files"]]

    async def unload_text(self, path: str, *, scope: Mapping[str, str] | None = None) -> Unloaded:
        """Unload the file that is known by exactly this path; else as ``unload_file``."""
        wanted = {"path": path, **_scope(scope)}
        answer = await self._ask("DELETE", "/v1/files", params=wanted, patience=LONGEST_TIMEOUT_S)  # of thousands
        return _read(Unloaded, answer)


def _scope(scope: Mapping[str, str] | None) -> dict[str, str]:
    checked = check_scope(scope)
    return {"scope": json.dumps(checked)} if checked else {}


def _read(kind: type[R], answer: Mapping[str, Any]) -> R:
    """A result out of an answer; what a newer service says beyond it is passed over."""
    return kind(**{field.name: answer[field.name] for field in fields(kind)})


def _tagged(answer: Mapping[str, Any]) -> Tagged:
    return Tagged(answer["id"], tuple(answer["tags"]), answer["version"], answer["revision"], answer["epoch"])


def _node(data: Mapping[str, Any]) -> TagNode:
    children = tuple(_node(child) for child in data["children"])
    return TagNode(data["name"], data["tag"], data["count"], data["total"], children)
