"""The synchronous face of the SDK: thin shells over the asynchronous core, which runs on an event loop in a thread."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from robotgroups.declaring import Age, Number
from robotgroups.embedding import EmbeddingConfig
from robotgroups.extraction import ExtractionConfig
from robotgroups.group import AsyncRobotGroup, Channel
from robotgroups.loop import Loop
from robotgroups.recall import Recalled
from robotgroups.remembering import NewMemory
from robotgroups.sync_client import Client
from robotgroups.sync_relations import ConnectionFace
from robotgroups.sync_verbs import SyncVerbs
from robotgroups.timeframe import Timeframe
from robotgroups.updating import UNCHANGED

__all__ = ["Client", "RobotGroup"]


class RobotGroup(SyncVerbs, ConnectionFace):
    """A robot group (design §5): HTM's surface. ``shutdown`` it, or use it as a context manager.

    It hosts the robots that it names in this process; naming none, it only opens the group. See ``AsyncRobotGroup`` for
    what each method does and raises: they are the same.
    """

    def __init__(
        self,
        name: str,
        active: Sequence[str] = (),
        passive: Sequence[str] = (),
        *,
        max_tokens: int | None = None,
        dsn: str | None = None,
        eviction: str | None = None,
        language: str | None = None,
        space: str | None = None,
        expire_after: Age = UNCHANGED,
        keep_memories: Number = UNCHANGED,
        embedding: EmbeddingConfig | None = None,
        extraction: ExtractionConfig | None = None,
        embedding_api_key: str | None = None,
        extraction_api_key: str | None = None,
    ) -> None:
        self._loop = Loop(f"group {name}")
        try:
            self._group = self._loop.run(
                AsyncRobotGroup.open,
                name,
                active,
                passive,
                max_tokens=max_tokens,
                dsn=dsn,
                eviction=eviction,
                language=language,
                space=space,
                expire_after=expire_after,
                keep_memories=keep_memories,
                embedding=embedding,
                extraction=extraction,
                embedding_api_key=embedding_api_key,
                extraction_api_key=extraction_api_key,
            )
        except BaseException:
            self._loop.close()
            raise
        self._open = True
        # after embedded.start, which registers the end of Postgres: this is to come before that
        atexit.register(self.shutdown)

    def shutdown(self) -> None:
        """End the presence of this process's robots; roles stay. Safe to call twice."""
        if self._open:
            self._open = False
            atexit.unregister(self.shutdown)
            try:
                self._loop.run(self._group.shutdown)
            finally:
                self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    @property
    def _core(self) -> AsyncRobotGroup:
        return self._group

    # -- memory ------------------------------------------------------------------------------------------------------

    def remember(
        self,
        content: str,
        originator: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
    ) -> int:
        """Remember for the whole group; returns the memory's id."""
        return self._loop.run(
            self._group.remember,
            content,
            originator=originator,
            tags=tags,
            metadata=metadata,
            key=key,
            scope=scope,
            expires_at=expires_at,
        )

    def remember_many(self, memories: Sequence[NewMemory]) -> list[int]:
        """Remember many in as few transactions as they fit into; their ids in their order."""
        return self._loop.run(self._group.remember_many, memories)

    def recall(
        self,
        query: str,
        limit: int = AsyncRobotGroup.recall_limit,
        strategy: str = "fulltext",
        *,
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
            self._group.recall,
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

    def forget(self, memory_id: int) -> None:
        """Hide a memory until it is restored."""
        self._loop.run(self._group.forget, memory_id)

    def restore(self, memory_id: int) -> None:
        """Bring a forgotten memory back."""
        self._loop.run(self._group.restore, memory_id)

    def transfer_working_memory(self, source: str, target: str) -> int:
        """Make ``target`` the keeper of ``source``'s working memories; returns how many."""
        return self._loop.run(self._group.transfer_working_memory, source, target)

    # -- members -----------------------------------------------------------------------------------------------------

    def add_active(self, name: str) -> None:
        """Host another active robot."""
        self._loop.run(self._group.add_active, name)

    def add_passive(self, name: str) -> None:
        """Host another passive robot, or bring a failed one back."""
        self._loop.run(self._group.add_passive, name)

    def remove(self, name: str) -> None:
        """Take a robot out of the group."""
        self._loop.run(self._group.remove, name)

    def promote(self, name: str) -> None:
        """Make a passive robot active beside the others."""
        self._loop.run(self._group.promote, name)

    def demote(self, name: str) -> None:
        """Make an active robot passive."""
        self._loop.run(self._group.demote, name)

    def failover(self, failed: str | None = None) -> str:
        """Replace an active robot; returns who was promoted."""
        return self._loop.run(self._group.failover, failed)

    def switchover(self, to: str | None = None, *, source: str | None = None) -> str:
        """Let a passive robot take over without a failed request; returns who was promoted."""
        return self._loop.run(self._group.switchover, to, source=source)

    # -- state -------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The group's state as a mapping."""
        return self._loop.run(self._group.status)

    def sync_robot(self, name: str) -> dict[str, int]:
        """Bring one robot of this process up to date."""
        return self._loop.run(self._group.sync_robot, name)

    def sync_all(self) -> dict[str, int]:
        """Bring every robot of this process up to date."""
        return self._loop.run(self._group.sync_all)

    def sync_stats(self) -> dict[str, int]:
        """What the caches of this process's robots have taken in: nodes, evictions, notifications."""
        return self._group.sync_stats()

    def is_member(self, name: str) -> bool:
        """Whether the group has a robot of this name."""
        status = self.status()
        return name in [*status["active"], *status["passive"], *status["failed"]]

    def is_active(self, name: str) -> bool:
        """Whether the robot is active."""
        return name in self.active

    def is_passive(self, name: str) -> bool:
        """Whether the robot is passive."""
        return name in self.passive

    @property
    def name(self) -> str:
        """The group's name."""
        return self._group.name

    @property
    def dsn(self) -> str:
        """Where its Postgres is."""
        return self._group.dsn

    @property
    def channel(self) -> Channel:
        """The channel that this process's robots listen on."""
        return self._group.channel

    @property
    def active(self) -> list[str]:
        """Names of the active robots, in declared order."""
        return list(self.status()["active"])

    @property
    def passive(self) -> list[str]:
        """Names of the passive robots, in declared order."""
        return list(self.status()["passive"])

    @property
    def max_tokens(self) -> int:
        """The token budget of the working set."""
        return int(self.status()["max_tokens"])

    @property
    def in_sync(self) -> bool:
        """Whether every live robot has applied the group's revision."""
        return bool(self.status()["in_sync"])
