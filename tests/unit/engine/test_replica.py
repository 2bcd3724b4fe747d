"""What a robot makes of announcements, without a Postgres to ask."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from psycopg_pool import AsyncConnectionPool

from robotgroups.feed import new_memory
from robotgroups.memory_session import MemorySession
from robotgroups.models import Change, ChangeKind, RobotRole, Role, Snapshot
from robotgroups.replica import Placing, Replica
from robotgroups.store import Store

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ITEM = {"content": "x", "tokens": 1}


def evicted(revision: int) -> Change:
    return Change(revision, ChangeKind.EVICTED, 1, revision, None, {}, NOON)


@pytest.fixture
def replica() -> Replica:
    """One that is at revision 0; nothing is connected."""
    return Replica(Store("", "", AsyncConnectionPool("", open=False)), 1, MemorySession("", 1))


async def test_what_has_no_revision_is_announced_as_0(replica: Replica) -> None:
    await replica.take([evicted(1), evicted(2)], 3)  # read ahead of their announcements; 3 is to be read
    assert replica.hear(1) == (True, False)
    assert replica.hear(2) == (True, False)
    assert replica.behind is True  # nothing was read from Postgres yet
    assert replica.hear(2) == (True, False)
    assert replica.hear(0) == (False, True)
    assert replica.hear(5) == (True, False)
    assert replica.announced == 5
    assert replica.stats.notifications_received == 5


async def test_what_it_has_written_itself_is_no_news_the_first_time(replica: Replica) -> None:
    await replica.take([evicted(1)], 1)
    assert replica.hear(1) == (False, False)
    assert replica.hear(1) == (True, False)


async def test_own_revisions_that_were_not_announced_are_not_kept(replica: Replica) -> None:
    for revision in range(1, 101):
        await replica.take([evicted(revision)], revision)
    assert replica.hear(100) == (False, False)
    assert replica._own == set()


async def test_m5_what_is_told_is_read_though_another_reader_has_forgotten_the_announcement(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits for its own writes, a read that began before ends, and takes what it got for all there is."""
    replica.warm = True
    read = 0

    async def idle() -> None:
        replica.announced = replica.cache.revision

    async def catch_up() -> int:
        nonlocal read
        read += 1
        return 0

    monkeypatch.setattr(replica._session, "idle", idle)
    monkeypatch.setattr(replica, "catch_up", catch_up)
    await replica.told([evicted(2)], 2)
    assert read == 1


class Told:
    """What Postgres tells a replica, in place of its session and its store."""

    def __init__(self, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
        self.snapshots = 0
        self.state = Snapshot(5, 2, 100, {"a": RobotRole(Role.ACTIVE, 2, 0)}, ())
        self.feed: list[Change] = []
        self.endpoint = "http://a"
        monkeypatch.setattr(replica._session, "snapshot", self.snapshot)
        monkeypatch.setattr(replica._session, "changes", self.changes)
        monkeypatch.setattr(replica._store, "status", self.status)

    async def snapshot(self) -> Snapshot:
        self.snapshots += 1
        return self.state

    async def changes(self, after: int, limit: int) -> list[Change]:
        return [change for change in self.feed if after < change.revision <= after + limit]

    async def status(self, group_id: int) -> SimpleNamespace:  # noqa: ARG002
        return SimpleNamespace(robots=[SimpleNamespace(name="a", endpoint=self.endpoint)])


async def test_what_was_filled_ahead_is_not_read_again_and_what_came_after_it_is(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(replica, monkeypatch)
    await replica.fill()
    assert (replica.cache.revision, replica.warm) == (5, False)
    told.feed = [evicted(6), evicted(7)]
    await replica.catch_up()
    assert (replica.cache.revision, replica.warm, told.snapshots) == (7, True, 1)
    await replica.fill()
    assert told.snapshots == 1


async def test_what_is_filled_is_given_up_when_postgres_was_set_back(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(replica, monkeypatch)
    await replica.catch_up()
    told.state = replace(told.state, revision=3)
    replica.beaten(3, 5)
    assert replica.behind
    await replica.catch_up()
    assert (replica.cache.revision, told.snapshots) == (3, 2)


async def test_a_gap_after_the_filling_is_filled_by_a_new_snapshot(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(replica, monkeypatch)
    await replica.fill()
    told.state, told.feed = replace(told.state, revision=9), [evicted(9)]
    await replica.catch_up()
    assert (replica.cache.revision, told.snapshots) == (9, 2)


async def test_who_waits_for_other_roles_is_told_of_a_snapshot_of_endpoints_and_of_a_role(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(replica, monkeypatch)
    seen = replica.placing
    await replica.catch_up()
    assert replica.placing == Placing(2, (("a", "http://a"),)) != seen

    async def moved() -> Placing:
        seen = replica.placing
        await replica.moved(seen, 5.0)
        assert replica.placing != seen
        return replica.placing

    waiting = asyncio.create_task(moved())
    await asyncio.sleep(0)
    role = {"roles": {"a": {"role": "passive", "tenure": 0, "ordinal": 0}}}
    told.feed = [evicted(6), Change(7, ChangeKind.ROLE, 3, None, None, role, NOON)]
    await replica.catch_up()
    assert await waiting == Placing(3, ())

    waiting = asyncio.create_task(moved())
    await asyncio.sleep(0)
    back = {"roles": {"a": {"role": "active", "tenure": 4, "ordinal": 0}}}
    told.feed, told.endpoint = [Change(8, ChangeKind.ROLE, 4, None, None, back, NOON)], "http://b"
    await replica.catch_up()
    assert await waiting == Placing(4, (("a", "http://b"),))

    waiting = asyncio.create_task(moved())
    await asyncio.sleep(0)
    told.state = replace(told.state, revision=1, epoch=4, roles={})
    replica.beaten(1, 8)  # set back, with the same epoch
    await replica.catch_up()
    assert await waiting == Placing(4, ())


async def test_nothing_is_kept_of_what_left_the_cache() -> None:
    """What was evicted may be erased without a word to this robot; it is let go of with the next heartbeat."""
    forgotten: list[set[int]] = []
    replica = Replica(
        Store("", "", AsyncConnectionPool("", open=False)),
        1,
        MemorySession("", 1),
        lambda memory_ids: forgotten.append(set(memory_ids)),
    )
    added = [
        Change(n, ChangeKind.ADDED, 1, n, "a", new_memory(n, ITEM, "a", NOON, placed=True), NOON) for n in range(1, 7)
    ]
    await replica.take(added, 6)
    await replica.take(
        [Change(7, ChangeKind.EVICTED, 1, 1, None, {}, NOON), Change(8, ChangeKind.FORGOTTEN, 1, 2, None, {}, NOON)], 8
    )
    assert forgotten == [{2}]
    replica.beaten(8, 8)
    assert forgotten == [{2}, {1}]
    # one that came in again stays, one that has grown too large goes
    large = new_memory(4, ITEM, "a", NOON, placed=False)
    again = new_memory(3, ITEM, "a", NOON, placed=True)
    await replica.take(
        [
            Change(9, ChangeKind.EVICTED, 1, 3, None, {}, NOON),
            Change(10, ChangeKind.UPDATED, 1, 4, None, large, NOON),
            Change(11, ChangeKind.ADDED, 1, 3, None, again, NOON),
        ],
        11,
    )
    replica.beaten(11, 11)
    assert forgotten == [{2}, {1}, {4}]
    await replica.take([Change(12, ChangeKind.CLEARED, 1, None, None, {}, NOON)], 12)
    assert forgotten == [{2}, {1}, {4}]
    await replica.close("over")
    assert forgotten == [{2}, {1}, {4}, {3, 5, 6}]
