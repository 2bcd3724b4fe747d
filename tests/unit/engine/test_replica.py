"""What a robot makes of announcements, without a Postgres to ask."""

from datetime import UTC, datetime

import pytest
from psycopg_pool import AsyncConnectionPool

from robotgroups.memory_session import MemorySession
from robotgroups.models import Change, ChangeKind
from robotgroups.replica import Replica
from robotgroups.store import Store

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


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
