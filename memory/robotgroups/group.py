"""A robot group in this process (design §5): the asynchronous core of the SDK.

It hosts the robots that it names, over the same engine as the pods; naming none, it only opens the group. Roles live in
Postgres: a second process opens the same group and sees the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from robotgroups import errors, migrations, tokens
from robotgroups.api_keys import ApiKeys
from robotgroups.context import Context, assemble, strategy_named
from robotgroups.declaring import Age, Number, declared
from robotgroups.dsn import resolve_dsn
from robotgroups.embedding import EmbeddingConfig
from robotgroups.extraction import ExtractionConfig
from robotgroups.file_verbs import FileVerbs
from robotgroups.group_commit import GroupCommit, Outcome, raised
from robotgroups.group_models import GroupModels
from robotgroups.hosted import HostedRobots
from robotgroups.lexing import Lexer
from robotgroups.lifecycle import LifecycleVerbs
from robotgroups.models import GroupKey, GroupStatus, Memory, Role
from robotgroups.names import check_names
from robotgroups.prepared import Prepared
from robotgroups.recalling import RecallVerbs
from robotgroups.relating import RelationVerbs, TagVerbs
from robotgroups.remembering import Item, NewMemory, items_of
from robotgroups.robot import HostedRobot
from robotgroups.scope import visible
from robotgroups.store import Store
from robotgroups.updating import UNCHANGED
from robotgroups.upkeep import Upkeep
from robotgroups.verbs import Write
from robotgroups.working_set import WorkingSetVerbs

LOCAL_CLUSTER, LOCAL_NAMESPACE = "local", "default"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Channel:
    """The group's LISTEN/NOTIFY channel, as the robots of this process use it."""

    name: str
    listening: bool


class AsyncRobotGroup(RecallVerbs, LifecycleVerbs, WorkingSetVerbs, RelationVerbs, TagVerbs, FileVerbs):
    """Open it with ``await AsyncRobotGroup.open(...)``; ``await shutdown()`` ends its robots' presence, roles stay."""

    recall_limit = 5

    def __init__(self, name: str, store: Store, group_id: int, keys: ApiKeys | None = None) -> None:
        self.name = name
        self.dsn = store.dsn
        self._store = store
        self._group_id = group_id
        self._tokenizer = tokens.DEFAULT
        self._models = GroupModels(partial(store.background_work, group_id), keys or ApiKeys.of())
        self._hosted = HostedRobots(store, group_id, self._models)
        self._upkeep = Upkeep(store)
        self._prepared = Prepared()
        self._remembers = store.session(group_id)
        self._commits = GroupCommit(self._commit)
        self._lexer = Lexer(store, group_id)

    @classmethod
    async def open(
        cls,
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
    ) -> AsyncRobotGroup:
        """Open the group, make it when it is new, and host the robots that are named.

        Members that exist keep their role, new names join. ``max_tokens`` None keeps the stored budget (4000 for a new
        group). Without ``dsn``: ROBOTGROUPS_DSN, else an embedded Postgres.

        What is left out of the others stays as it is stored. ``eviction``: who leaves a full working set first,
        "balanced" (of a new group), "lru", "lfu" or "fifo". ``language``: the text search configuration of Postgres by
        which memories are indexed and searched ("english", "german", "simple", …). ``space``: share long-term memory
        with the groups that name the same one; only when the group is made. ``expire_after``: remove memories that were
        not remembered again for so long, ``keep_memories``: remove the oldest beyond so many; None: never.

        ``embedding`` and ``extraction`` None keep what is stored (none for a new group); another embedding model than
        before embeds every memory anew in the background. The keys are stored nowhere; None: the environment's
        ROBOTGROUPS_EMBEDDING_API_KEY and ROBOTGROUPS_EXTRACTION_API_KEY, or the files that those with _FILE name. A key
        goes to the endpoint of the settings beside which it is given, or that those with _FOR name, and to no other.

        Raises:
            ArgumentError: a name that is no DNS label or is named twice, a setting that cannot be (the message names
                it), or another space than the group has.
            HostedElsewhereError: another process hosts one of the robots.
            MemoryUnavailableError, SetupError.

        """
        check_names(name, active, passive)
        settings, unsaid = declared(
            max_tokens=max_tokens,
            eviction=eviction,
            language=language,
            space=space,
            expire_after=expire_after,
            keep_memories=keep_memories,
            embedding=embedding,
            extraction=extraction,
        )
        full = await asyncio.to_thread(resolve_dsn, dsn)
        await migrations.migrate(full)
        store = await Store.open(full)
        try:
            key = GroupKey(LOCAL_CLUSTER, LOCAL_NAMESPACE, name)
            group_id = await store.ensure_group(key, settings, keep=unsaid)
            keys = ApiKeys.of(
                embedding_api_key,
                extraction_api_key,
                embedding_for=(embedding and embedding.base_url) or None,
                extraction_for=(extraction and extraction.base_url) or None,
            )
            group = cls(name, store, group_id, keys)
            await group._hosted.host_all({**dict.fromkeys(active, Role.ACTIVE), **dict.fromkeys(passive, Role.PASSIVE)})
        except BaseException:
            await store.close()
            raise
        group._upkeep.start()
        return group

    async def shutdown(self) -> None:
        """End the presence of this process's robots, cleanly: their roles stay. Safe to call twice."""
        await self._upkeep.stop()
        await self._commits.close()
        await self._lexer.close()
        await self._remembers.close()
        await self._hosted.stop()
        await self._models.aclose()
        await self._store.close()

    async def __aenter__(self) -> AsyncRobotGroup:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    # -- memory ------------------------------------------------------------------------------------------------------

    async def remember(
        self,
        content: str,
        *,
        originator: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
        scope: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
    ) -> int:
        """Remember for the whole group; returns the memory's id. ``originator`` None: the first active robot.

        What is remembered meanwhile goes into the next transaction together. See ``NewMemory`` for the arguments.

        Raises:
            NoActiveRobotError: nobody may write.
            UnknownRobotError: the originator is no member.
            ArgumentError, IdempotencyConflictError, MemoryUnavailableError.

        """
        (done,) = await self.remember_many([NewMemory(content, tags, metadata, originator, key, scope, expires_at)])
        return done

    async def remember_many(self, memories: Sequence[NewMemory]) -> list[int]:
        """Remember many in as few transactions as they fit into; their ids in their order.

        Raises:
            ArgumentError: one of them is wrong; the message tells which, and nothing is remembered.
            NoActiveRobotError, UnknownRobotError, MemoryUnavailableError: some may have been remembered; to try all of
                them again is safe (M2).

        """
        try:
            return await self._remember(memories)
        except errors.UnknownRobotError:
            if all(memory.originator for memory in memories):
                raise
            await self._hosted.catch_up()  # another process has removed who was the first active
            return await self._remember(memories)

    async def _remember(self, memories: Sequence[NewMemory]) -> list[int]:
        first = self._hosted.first_active()
        items = items_of([m if m.originator else replace(m, originator=first) for m in memories], tokens.DEFAULT)
        return [done.id for done in raised(await self._commits.remember_many(items))]

    async def _commit(self, items: Sequence[Item]) -> Sequence[Outcome]:
        async def write(robot: str | None, tenure: int | None) -> Sequence[Outcome]:
            written = await self._remembers.remember(robot, tenure, items)
            self._acknowledge(written.revision)
            return written.outcomes

        outcomes = await self._write(None, write)
        self._lexer.soon(len(items))
        return outcomes

    async def working_memory(self) -> list[Memory]:
        """The shared working set without what has expired, oldest first."""
        return visible((await self._store.snapshot(self._group_id)).working_memory, datetime.now(UTC))

    async def context(
        self,
        *,
        strategy: str = "balanced",
        max_tokens: int | None = None,
        query: str | None = None,
        scope: Mapping[str, str] | None = None,
    ) -> Context:
        """The working set as text for an LLM. ``max_tokens`` None: the group's budget. ``query``: its matches first.

        ``scope``: only memories that belong to it. It is assembled from the cache of a robot of this process, without
        asking Postgres: at least everything that was acknowledged here is in it. Where none lives, Postgres is asked.

        Raises:
            UnknownStrategyError, InvalidScopeError, ArgumentError.
            MemoryUnavailableError: what was acknowledged here does not come.

        """
        chosen = strategy_named(strategy)
        with contextlib.suppress(errors.ReplacedError):  # it has just ended
            if robot := self._hosted.reader():
                await robot.caught_up()
                return robot.context(strategy=chosen, max_tokens=max_tokens, query=query, scope=scope)
        snapshot = await self._store.snapshot(self._group_id)
        return assemble(
            snapshot.working_memory,
            strategy=chosen,
            max_tokens=snapshot.max_tokens if max_tokens is None else max_tokens,
            revision=snapshot.revision,
            now=datetime.now(UTC),
            prepared=self._prepared,
            query=query,
            scope=scope,
        )

    async def forget(self, memory_id: int) -> None:
        """Hide a memory until it is restored. UnknownMemoryError."""
        done = await self._write(
            None,
            lambda robot, tenure: self._store.forget(self._group_id, robot=robot, tenure=tenure, memory_id=memory_id),
        )
        self._acknowledge(done.revision)

    async def restore(self, memory_id: int) -> None:
        """Bring a forgotten memory back. UnknownMemoryError."""
        done = await self._write(
            None,
            lambda robot, tenure: self._store.restore(self._group_id, robot=robot, tenure=tenure, memory_id=memory_id),
        )
        self._acknowledge(done.revision)

    async def clear_working_memory(self) -> int:
        """Empty the working set; long-term memory stays. Returns how many left it."""
        count = await self._write(
            None, lambda robot, tenure: self._store.clear_working_memory(self._group_id, robot=robot, tenure=tenure)
        )
        await self._hosted.catch_up()
        return count

    async def transfer_working_memory(self, source: str, target: str) -> int:
        """Make ``target`` the keeper of ``source``'s working memories; returns how many. UnknownRobotError."""
        count = await self._write(
            None,
            lambda robot, tenure: self._store.transfer_working_memory(
                self._group_id, robot=robot, tenure=tenure, source=source, target=target
            ),
        )
        await self._hosted.catch_up()
        return count

    # -- members -----------------------------------------------------------------------------------------------------

    async def add_active(self, name: str) -> None:
        """Host another active robot. AlreadyMemberError."""
        await self._join(name, Role.ACTIVE)

    async def add_passive(self, name: str) -> None:
        """Host another passive robot, or bring a failed one back. AlreadyMemberError."""
        await self._join(name, Role.PASSIVE)

    async def remove(self, name: str) -> None:
        """Take a robot out of the group, the last active one too. A stranger is none: nothing happens."""
        await self._hosted.let_go(name)
        await self._store.leave(self._group_id, name)

    async def promote(self, name: str) -> None:
        """Make a passive robot active beside the others. ArgumentError, NotWarmError."""
        await self._hosted.report()
        await self._store.promote(self._group_id, name)
        await self._hosted.catch_up()

    async def demote(self, name: str) -> None:
        """Make an active robot passive. ArgumentError, LastActiveRobotError."""
        await self._store.demote(self._group_id, name)
        await self._hosted.catch_up()

    async def failover(self, failed: str | None = None) -> str:
        """Replace ``failed``, else an active robot that does not live, else the first; returns who was promoted.

        The replaced robot is failed until it is added again.

        Raises:
            NoPassiveRobotError: nobody can take over.
            NoActiveRobotError, ArgumentError.

        """
        await self._hosted.report()
        done = await self._store.failover(self._group_id, failed, detected_by="sdk")
        await self._hosted.let_go(done.failed)
        await self._hosted.catch_up()
        return done.promoted

    async def switchover(self, to: str | None = None, *, source: str | None = None) -> str:
        """Let ``to``, else the best passive robot, take over from ``source``, else from the first active one.

        No request fails by it: the replaced robot is passive from then on. Returns who was promoted.

        Raises:
            NoPassiveRobotError, NotWarmError: nobody can take over, or ``to`` cannot yet.
            NoActiveRobotError, ArgumentError.

        """
        await self._hosted.report()
        done = await self._store.switchover(self._group_id, source, to, asked_by="sdk")
        await self._hosted.catch_up()
        return done.promoted

    # -- state -------------------------------------------------------------------------------------------------------

    async def group_status(self) -> GroupStatus:
        """The group's state, typed, after this process's robots have caught up."""
        await self._hosted.report()
        return await self._store.status(self._group_id)

    async def status(self) -> dict[str, Any]:
        """The group's state as a mapping (design §5)."""
        return (await self.group_status()).as_dict()

    async def sync_robot(self, name: str) -> dict[str, int]:
        """Bring one robot of this process up to date. UnknownRobotError when it is not hosted here."""
        return await self._sync([self._hosted[name]])

    async def sync_all(self) -> dict[str, int]:
        """Bring every robot of this process up to date."""
        return await self._sync(list(self._hosted))

    def sync_stats(self) -> dict[str, int]:
        """What the caches of this process's robots have taken in, added up.

        A mapping of nodes_synced, evictions_synced and notifications_received; robots that have left count too.
        """
        return self._hosted.stats()

    @property
    def channel(self) -> Channel:
        """The channel that this process's robots listen on."""
        return Channel(f"rg_{self._group_id}", self._hosted.listening)

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _join(self, name: str, role: Role) -> None:
        check_names(self.name, [name], [])
        await self._hosted.join(name, role)

    async def _written(self, write: Write[T]) -> T:
        return await self._write(None, write)

    def _acknowledge(self, revision: int) -> None:
        """What is read here comes from Postgres, or waits for this in a robot's cache."""
        self._hosted.acknowledge(revision)

    async def _write(self, originator: str | None, write: Write[T]) -> T:
        """Write as the originator, else as the first active robot hosted here, else as the group's owner.

        Another process may have moved or removed robots a moment ago: Postgres says so, and once more is enough.
        """
        try:
            return await write(*self._hosted.writer(originator))
        except (errors.NotActiveError, errors.UnknownRobotError):
            await self._hosted.catch_up()
            return await write(*self._hosted.writer(originator))

    async def _sync(self, robots: Sequence[HostedRobot]) -> dict[str, int]:
        taken = [await robot.catch_up() for robot in robots]
        return {"synced_nodes": sum(taken), "members_updated": sum(n > 0 for n in taken)}
