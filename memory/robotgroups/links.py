"""A robot's links with the others of its group: what it writes is told to them, what the active ones write to it.

They save time and announcements, nothing depends on them: what was not told is announced, and read (M5).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from robotgroups.announcing import Announcer
from robotgroups.doorbell import DoorbellPlace
from robotgroups.following import Following
from robotgroups.link import Link, Told, bare_message, message
from robotgroups.memory_session import Written
from robotgroups.models import Peer, Role
from robotgroups.replica import Replica
from robotgroups.store import Store
from robotgroups.teller import Teller

logger = logging.getLogger(__name__)


class Links:
    """``heard()`` is called when the cache has gone on."""

    def __init__(
        self,
        store: Store,
        group_id: int,
        robot: str,
        incarnation: UUID,
        replica: Replica,
        *,
        heard: Callable[[], None],
    ) -> None:
        self._store = store
        self._group_id = group_id
        self._robot = robot
        self._incarnation = incarnation
        self._replica = replica
        self._heard = heard
        self._teller = Teller()
        self._following = Following(incarnation, self._link, self._linked, self._hear)
        self._announcer = Announcer(lambda revision: store.announce(group_id, revision))
        self._hung = False
        self._epoch = -1  # whose active robots are followed
        self._peers: frozenset[UUID] = frozenset()

    async def open(self, place: DoorbellPlace) -> None:
        """Listen for the others, and let them know where."""
        try:
            await self._teller.open(place)
        except OSError as error:
            logger.warning("robot %s has no link at %s port %d: %s", self._robot, place.bind, place.port, error)
            return
        await self.keep()

    async def keep(self) -> None:
        """After each heartbeat: let it be known where it tells, follow who is active. MemoryUnavailableError."""
        if not self._hung and self._teller.address:
            self._hung = await self._store.hang_link(
                self._group_id, self._robot, self._incarnation, self._teller.address, self._teller.key
            )
        self.follow()

    def follow(self) -> None:
        """Follow those who are active, by the cache."""
        cache = self._replica.cache
        if cache.epoch != self._epoch:
            self._epoch = cache.epoch
            self._following.follow([name for name in cache.named(Role.ACTIVE) if name != self._robot])

    def registered(self) -> None:
        """Its presence is a new one, of which nobody knows where it tells."""
        self._hung = False

    def present(self, peers: Sequence[Peer]) -> None:
        """Take note of who is present."""
        self._peers = frozenset(peer.incarnation for peer in peers if peer.heartbeat >= 0)

    @property
    def reach_all(self) -> bool:
        """Whether everybody who is present is told: Postgres need not announce it."""
        return self._peers.issubset(self._teller.followers)

    def tell(self, written: Written) -> None:
        """Tell the others what was written, and announce it soon if that was not done by the writing itself."""
        if not written.revision:
            return
        if self._teller.followers:
            said = message(self._robot, written.kept, written.revision)
            self._teller.tell(said, bare_message(written.revision))
        if written.quiet:
            self._announcer.soon(written.revision)

    async def close(self) -> None:
        """End all links, and announce what is left. Safe to call twice."""
        await self._following.close()
        await self._announcer.close()
        await self._teller.close()

    async def _link(self, robot: str) -> Link | None:
        return await self._store.link(self._group_id, robot)

    async def _linked(self) -> None:
        await self._replica.catch_up()
        self._heard()

    async def _hear(self, told: Told) -> None:
        await self._replica.told(told.changes, told.revision)
        self._heard()
