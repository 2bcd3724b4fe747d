"""A robot's use of its group's memory: it reads its replica and Postgres, and writes under its tenure (R2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from robotgroups import context as contexts
from robotgroups import tokens
from robotgroups.cache import Cache
from robotgroups.errors import ArgumentError, NotActiveError, UnknownRobotError
from robotgroups.file_verbs import FileVerbs
from robotgroups.group_commit import GroupCommit, Outcome, raised
from robotgroups.group_models import GroupModels
from robotgroups.lexing import Lexer
from robotgroups.lifecycle import LifecycleVerbs
from robotgroups.links import Links
from robotgroups.models import Change, GroupStatus, Memory, Remembered, Revised, Role
from robotgroups.prepared import Prepared
from robotgroups.recalling import RecallVerbs
from robotgroups.relating import RelationVerbs, TagVerbs
from robotgroups.remembering import Item, NewMemory, item_of, items_of
from robotgroups.replica import Placing, Replica, SyncStats
from robotgroups.scope import visible
from robotgroups.store import Store
from robotgroups.verbs import Write
from robotgroups.working_set import WorkingSetVerbs

T = TypeVar("T")


class Member(RecallVerbs, LifecycleVerbs, WorkingSetVerbs, RelationVerbs, TagVerbs, FileVerbs):
    """What a robot knows of its group and does with the group's memory; ``HostedRobot`` keeps it up to date."""

    _links: Links

    def __init__(self, store: Store, group_id: int, name: str, models: GroupModels) -> None:
        self.name = name
        self._models = models
        self._store = store
        self._group_id = group_id
        self._tokenizer = tokens.DEFAULT
        self._prepared = Prepared(self._tokenizer)
        self._session = store.session(group_id)
        self._replica = Replica(store, group_id, self._session, self._forgotten)
        self._commits = GroupCommit(self._commit)
        self._lexer = Lexer(store, group_id)

    # -- what it knows -----------------------------------------------------------------------------------------------

    @property
    def cache(self) -> Cache:
        """Its copy of the group."""
        return self._replica.cache

    @property
    def warm(self) -> bool:
        """Whether its cache has caught up with the group since it started."""
        return self._replica.warm

    @property
    def stats(self) -> SyncStats:
        """What its cache has taken in."""
        return self._replica.stats

    @property
    def role(self) -> Role:
        """Its role, by the last role event that it has applied (M6)."""
        mine = self.cache.roles.get(self.name)
        return mine.role if mine else Role.FAILED

    @property
    def tenure(self) -> int:
        """Its tenure (the fencing token), 0 when it is not active."""
        mine = self.cache.roles.get(self.name)
        return mine.tenure if mine else 0

    @property
    def epoch(self) -> int:
        """The epoch that its cache has reached."""
        return self.cache.epoch

    @property
    def revision(self) -> int:
        """The revision that its cache has reached."""
        return self.cache.revision

    @property
    def lag(self) -> int:
        """Revisions that are announced and not applied yet."""
        return max(self._replica.announced - self.cache.revision, 0)

    def active_endpoints(self) -> list[tuple[str, str]]:
        """(name, endpoint) of the active robots that told one, in declared order."""
        return self._replica.active_endpoints()

    @property
    def placing(self) -> Placing:
        """Who is active and where, by its cache: to wait with ``moved`` for something else."""
        return self._replica.placing

    async def moved(self, since: Placing, timeout_s: float) -> None:
        """Wait until roles or the active robots' endpoints are others than ``since``; at most so many seconds."""
        await self._replica.moved(since, timeout_s)

    async def wait_revision(self, revision: int) -> None:
        """Wait until the cache has reached a revision. ReplacedError when the robot ends before."""
        await self._replica.wait_revision(revision)

    async def wait_reported(self, revision: int) -> None:
        """Wait until Postgres knows that this robot has applied a revision (in_sync counts what is reported)."""
        await self._replica.wait_reported(revision)

    def acknowledge(self, revision: int) -> None:
        """Take note of the revision of a write: ``caught_up`` waits for it."""
        self._replica.acknowledge(revision)

    async def caught_up(self) -> None:
        """Wait until the cache has what was acknowledged here, at least. MemoryUnavailableError."""
        await self._replica.caught_up()

    async def catch_up(self) -> int:
        """Read what the cache lacks; returns how many memories that brought in. MemoryUnavailableError."""
        return await self._replica.catch_up()

    def events(self, after: int) -> AsyncGenerator[Change, None]:
        """Changes after a revision, until the robot ends (ReplacedError). A slow reader hurts nobody."""
        return self._replica.events(after)

    async def check_feed(self, after: int) -> None:
        """Whether the feed still has what follows a revision. PrunedError, MemoryUnavailableError."""
        await self._store.changes(self._group_id, after, 1)

    # -- memory ------------------------------------------------------------------------------------------------------

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
        """Remember under this robot's tenure; durable when it returns (M1), once (M2).

        What is remembered meanwhile goes into the next transaction together. See ``NewMemory`` for the arguments.

        Raises:
            NotActiveError: it is not active, here or in Postgres (R2).
            ArgumentError, IdempotencyConflictError, UnknownRobotError, MemoryUnavailableError.

        """
        self._claim()
        memory = NewMemory(content, tags, metadata, originator, key, scope, expires_at)
        return await self._commits.remember(item_of(memory, self._tokenizer))

    async def remember_many(self, memories: Sequence[NewMemory]) -> list[Remembered]:
        """Remember many in as few transactions as they fit into; the acknowledgements in their order.

        Raises:
            ArgumentError: one of them is wrong; the message tells which, and nothing is remembered.
            NotActiveError, UnknownRobotError, MemoryUnavailableError: some may have been remembered; to try all of them
                again is safe (M2).

        """
        self._claim()
        return raised(await self._commits.remember_many(items_of(memories, self._tokenizer)))

    async def remember_each(self, memories: Sequence[NewMemory]) -> list[Outcome]:
        """Remember many as ``remember_many`` does; what Postgres refuses of one is told in that one's place.

        That is an ArgumentError (IdempotencyConflictError) or UnknownRobotError, and hinders no other.

        Raises:
            ArgumentError: one of them is wrong; nothing is remembered.
            NotActiveError, MemoryUnavailableError: as ``remember_many``.

        """
        self._claim()
        outcomes = await self._commits.remember_many(items_of(memories, self._tokenizer))
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, ArgumentError | UnknownRobotError):
                raise outcome
        return outcomes

    async def forget(self, memory_id: int) -> Revised:
        """Hide a memory. NotActiveError, UnknownMemoryError."""
        return self._done(
            await self._store.forget(self._group_id, robot=self.name, tenure=self._claim(), memory_id=memory_id)
        )

    async def restore(self, memory_id: int) -> Revised:
        """Bring a forgotten memory back. NotActiveError, UnknownMemoryError."""
        return self._done(
            await self._store.restore(self._group_id, robot=self.name, tenure=self._claim(), memory_id=memory_id)
        )

    async def clear_working_memory(self) -> int:
        """Empty the working set; returns how many left it. NotActiveError."""
        count = await self._store.clear_working_memory(self._group_id, robot=self.name, tenure=self._claim())
        await self._replica.catch_up()
        return count

    async def transfer_working_memory(self, source: str, target: str) -> int:
        """Make ``target`` the keeper of ``source``'s working memories; returns how many. NotActiveError."""
        count = await self._store.transfer_working_memory(
            self._group_id, robot=self.name, tenure=self._claim(), source=source, target=target
        )
        await self._replica.catch_up()
        return count

    async def working_memory(self) -> list[Memory]:
        """The working set without what has expired, oldest first; at least everything acknowledged here is in it."""
        await self.caught_up()
        return visible(self.cache.memories.values(), datetime.now(UTC))

    def context(
        self,
        *,
        strategy: str = "balanced",
        max_tokens: int | None = None,
        query: str | None = None,
        scope: Mapping[str, str] | None = None,
    ) -> contexts.Context:
        """The working set as text for an LLM, from the cache alone: see ``contexts.assemble``.

        ``max_tokens`` None: the group's budget. ``query``: what matches it comes first. ``scope``: only memories that
        belong to it.

        Raises:
            UnknownStrategyError, InvalidScopeError, ArgumentError.

        """
        if self._prepared.tokenizer != self._tokenizer:
            self._prepared = Prepared(self._tokenizer)
        return contexts.assemble(
            self.cache.memories.values(),
            strategy=contexts.strategy_named(strategy),
            max_tokens=self.cache.max_tokens if max_tokens is None else max_tokens,
            revision=self.cache.revision,
            now=datetime.now(UTC),
            prepared=self._prepared,
            query=query,
            scope=scope,
        )

    async def status(self) -> GroupStatus:
        """The group as Postgres sees it."""
        return await self._store.status(self._group_id)

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _commit(self, items: Sequence[Item]) -> Sequence[Outcome]:
        written = await self._session.remember(self.name, self._claim(), items, quiet=self._links.reach_all)
        self._links.tell(written)
        self._replica.acknowledge(written.revision)
        await self._replica.take(written.changes, written.revision)
        self._lexer.soon(len(items))
        self._remembered(items)
        return written.outcomes

    def _remembered(self, items: Sequence[Item]) -> None:
        """Items were remembered through this robot."""

    async def _close_writer(self) -> None:
        """Finish what is being written."""
        await self._commits.close()
        await self._lexer.close()
        await self._session.close()

    def _forgotten(self, memory_ids: Iterable[int]) -> None:
        self._prepared.forget(memory_ids)

    async def _written(self, write: Write[T]) -> T:
        return await write(self.name, self._claim())

    def _acknowledge(self, revision: int) -> None:
        self.acknowledge(revision)

    def _claim(self) -> int:
        if self.role is not Role.ACTIVE:
            active = self.cache.named(Role.ACTIVE)
            raise NotActiveError(
                f"{self.name} is {self.role.value}; active now: {', '.join(active) or 'nobody'}", active
            )
        return self.tenure

    def _done(self, revised: Revised) -> Revised:
        self.acknowledge(revised.revision)
        return revised
