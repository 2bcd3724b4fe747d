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


async def test_only_what_was_announced_before_tells_of_something_other_than_memory(replica: Replica) -> None:
    await replica.take([evicted(1), evicted(2)], 3)  # read ahead of their announcements; 3 is to be read
    assert replica.hear([1]) == (True, False)
    assert replica.hear([2]) == (True, False)
    assert replica.behind is True  # nothing was read from Postgres yet
    assert replica.hear([2]) == (True, True)
    assert replica.hear([3, 5]) == (True, False)
    assert replica.hear([4]) == (True, True)
    assert replica.announced == 5
    assert replica.stats.notifications_received == 6


async def test_what_it_has_written_itself_is_no_news_the_first_time(replica: Replica) -> None:
    await replica.take([evicted(1)], 1)
    assert replica.hear([1]) == (False, False)
    assert replica.hear([1]) == (True, True)


async def test_of_a_postgres_that_was_set_back_nothing_was_heard(replica: Replica) -> None:
    replica.hear([7])
    replica.beaten(revision=5, applied=6)
    assert replica.hear([6]) == (True, False)
