"""The synchronous face of the SDK: thin shells over the asynchronous core, which runs on an event loop in a thread."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from robotgroups import timeframe as timeframes
from robotgroups.client import DEADLINE_S, AsyncClient
from robotgroups.context import Context
from robotgroups.embedding import EmbeddingConfig
from robotgroups.errors import ClosedError
from robotgroups.extraction import ExtractionConfig
from robotgroups.group import AsyncRobotGroup, Channel
from robotgroups.models import Change, FailoverResult, Memory, Remembered, Revised
from robotgroups.sync_lifecycle import LifecycleFace

P = ParamSpec("P")
T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own, until ``close``.

    The thread is a daemon: a script that forgets to shut down, or dies of an exception, still ends.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=what, daemon=True)
        self._thread.start()

    def run(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function there and wait for what it returns or raises.

        Raises:
            ClosedError: after ``close``.

        """
        if self._loop.is_closed():
            raise ClosedError(f"{self._what} has been shut down: open it again")

        async def awaited() -> T:
            return await call(*args, **kwargs)

        future = asyncio.run_coroutine_threadsafe(awaited(), self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop."""
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_asyncgens(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RobotGroup(LifecycleFace):
    """A robot group (design §5): HTM's surface. ``shutdown`` it, or use it as a context manager.

    It hosts the robots that it names in this process; naming none, it only opens the group. See ``AsyncRobotGroup`` for
    what each method does and raises: they are the same.
    """

    _loop: _Loop

    def __init__(
        self,
        name: str,
        active: Sequence[str] = (),
        passive: Sequence[str] = (),
        *,
        max_tokens: int | None = None,
        dsn: str | None = None,
        embedding: EmbeddingConfig | None = None,
        extraction: ExtractionConfig | None = None,
        embedding_api_key: str | None = None,
        extraction_api_key: str | None = None,
    ) -> None:
        self._loop = _Loop(f"group {name}")
        try:
            self._group = self._loop.run(
                AsyncRobotGroup.open,
                name,
                active,
                passive,
                max_tokens=max_tokens,
                dsn=dsn,
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

    @property
    def _connected(self) -> AsyncRobotGroup:
        return self._group

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

    # -- memory ------------------------------------------------------------------------------------------------------

    def remember(
        self,
        content: str,
        originator: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> int:
        """Remember for the whole group; returns the memory's id."""
        return self._loop.run(
            self._group.remember, content, originator=originator, tags=tags, metadata=metadata, key=key
        )

    def recall(
        self,
        query: str,
        limit: int = 5,
        strategy: str = "fulltext",
        *,
        timeframe: timeframes.Timeframe | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> list[Memory]:
        """Search long-term memory, best match first."""
        return self._loop.run(
            self._group.recall,
            query,
            limit=limit,
            strategy=strategy,
            tags=tags,
            metadata=metadata,
            timeframe=timeframe,
        )

    def working_memory(self) -> list[Memory]:
        """The shared working set, oldest first."""
        return self._loop.run(self._group.working_memory)

    def context(self, strategy: str = "balanced", max_tokens: int | None = None, query: str | None = None) -> Context:
        """The working set as text for an LLM, what matches ``query`` first."""
        return self._loop.run(self._group.context, strategy=strategy, max_tokens=max_tokens, query=query)

    def forget(self, memory_id: int) -> None:
        """Hide a memory until it is restored."""
        self._loop.run(self._group.forget, memory_id)

    def restore(self, memory_id: int) -> None:
        """Bring a forgotten memory back."""
        self._loop.run(self._group.restore, memory_id)

    def clear_working_memory(self) -> int:
        """Empty the working set; returns how many left it."""
        return self._loop.run(self._group.clear_working_memory)

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


class Client(LifecycleFace):
    """A group's Service, synchronously: see ``AsyncClient``, whose methods these are."""

    _loop: _Loop

    def __init__(self, url: str, token: str, *, deadline: float = DEADLINE_S) -> None:
        self._client = AsyncClient(url, token, deadline=deadline)
        self._loop = _Loop(f"client of {url}")
        self._open = True

    @property
    def _connected(self) -> AsyncClient:
        return self._client

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

    def remember(
        self,
        content: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        originator: str | None = None,
        key: str | None = None,
    ) -> Remembered:
        """Remember once, durable when it returns."""
        return self._loop.run(
            self._client.remember, content, tags=tags, metadata=metadata, originator=originator, key=key
        )

    def recall(
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
        return self._loop.run(
            self._client.recall,
            query,
            limit=limit,
            strategy=strategy,
            tags=tags,
            metadata=metadata,
            timeframe=timeframe,
        )

    def working_memory(self) -> list[Memory]:
        """The working set of the robot that answers, oldest first."""
        return self._loop.run(self._client.working_memory)

    def context(
        self, *, strategy: str = "balanced", max_tokens: int | None = None, query: str | None = None
    ) -> Context:
        """The working set as text for an LLM, what matches ``query`` first."""
        return self._loop.run(self._client.context, strategy=strategy, max_tokens=max_tokens, query=query)

    def status(self) -> dict[str, Any]:
        """The group's status."""
        return self._loop.run(self._client.status)

    def forget(self, memory_id: int) -> Revised:
        """Hide a memory until it is restored."""
        return self._loop.run(self._client.forget, memory_id)

    def restore(self, memory_id: int) -> Revised:
        """Bring a forgotten memory back."""
        return self._loop.run(self._client.restore, memory_id)

    def clear_working_memory(self) -> int:
        """Empty the working set; returns how many left it."""
        return self._loop.run(self._client.clear_working_memory)

    def failover(self, robot: str | None = None) -> FailoverResult:
        """Replace an active robot."""
        return self._loop.run(self._client.failover, robot)

    def events(self, after: int | None = None) -> Generator[Change, None, None]:
        """Changes after a revision (None: from now on), without end."""
        feed = self._client.events(after)
        try:
            while True:
                yield self._loop.run(feed.__anext__)
        finally:
            self._loop.run(feed.aclose)
