"""LISTEN for one or many groups on one connection. Hints only (M5): who listens polls as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from types import TracebackType

import psycopg

from robotgroups.connection import Connection, checked_dsn, local_host, our_errors, raise_ours, readable, refuse_pooler
from robotgroups.presence import announced_revision, channel

PAUSE_S = 0.5  # how soon a newly wanted group is listened to; whoever asks for it reads its state then anyway


@dataclass(frozen=True, slots=True)
class Notification:
    """A group has reached a revision, as somebody said."""

    group_id: int
    revision: int


class Listener:
    """One session that listens to the groups that are wanted at the time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._listening: dict[str, int] = {}

    @classmethod
    async def open(cls, dsn: str, application_name: str = "robotgroups listener") -> Listener:
        """Connect.

        Raises:
            MemoryUnavailableError: Postgres cannot be reached.
            PoolerError: the DSN leads to a pooler.

        """
        async with our_errors():
            connection = await psycopg.AsyncConnection.connect(
                checked_dsn(dsn, application_name=application_name), autocommit=True
            )
            try:
                await refuse_pooler(connection)
            except BaseException:
                await connection.close()
                raise
            return cls(connection)

    async def listen(self, group_ids: Iterable[int]) -> frozenset[int]:
        """Listen to these groups and no others; returns those that are new, whose state is to be read now."""
        wanted = {channel(group_id): group_id for group_id in group_ids}
        async with our_errors():
            for name in self._listening.keys() - wanted.keys():
                await self._connection.execute(f"UNLISTEN {name}".encode())
            new = wanted.keys() - self._listening.keys()
            for name in new:
                await self._connection.execute(f"LISTEN {name}".encode())
        self._listening = wanted
        return frozenset(wanted[name] for name in new)

    async def notifications(self) -> AsyncIterator[Notification]:
        """Yield what was announced within half a second; raises MemoryUnavailableError when the connection is lost."""
        await readable(self._connection, PAUSE_S)
        async with our_errors():
            async for note in self._connection.notifies(timeout=0):
                group_id = self._listening.get(note.channel)
                revision = announced_revision(note.payload)
                if group_id is not None and revision is not None:
                    yield Notification(group_id, revision)

    @property
    def local_host(self) -> str:
        """The address at which Postgres sees this process. MemoryUnavailableError: the connection has ended."""
        try:
            return local_host(self._connection.fileno())
        except psycopg.Error as error:
            raise_ours(error)

    async def close(self) -> None:
        """Close the session."""
        await self._connection.close()

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
