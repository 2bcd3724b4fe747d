"""The rehearsal of a failover leaves nothing behind, and ends nobody."""

import psycopg
import pytest

from robotgroups.presence import channel, robots_channel

from .conftest import Group

pytestmark = pytest.mark.anyio

EVERYTHING = """
SELECT (SELECT jsonb_agg(g ORDER BY g.id) FROM robotgroups.groups g),
    (SELECT jsonb_agg(r ORDER BY r.name) FROM robotgroups.robots r),
    (SELECT jsonb_agg(p ORDER BY p.robot) FROM robotgroups.presence p), (SELECT count(*) FROM robotgroups.changes),
    (SELECT count(*) FROM robotgroups.failovers)
"""


async def test_it_changes_and_announces_nothing(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    before = await group.sql(EVERYTHING)
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as listener:
        for name in (channel(group.id), robots_channel(group.id)):
            await listener.execute(f"LISTEN {name}".encode())
        for _ in range(3):
            await group.sql("SELECT robotgroups.rehearse_failover(%s)", group.id)
        await group.sql("SELECT pg_notify(%s, 'the end')", channel(group.id))
        heard = [note.payload async for note in listener.notifies(timeout=5, stop_after=1)]
    assert heard == ["the end"]
    assert await group.sql(EVERYTHING) == before


async def test_what_it_prepares_is_still_decided_by_the_proof(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    session = group.robots["b"].session
    await session.rehearse_failover()
    roles = await group.sql("SELECT name, role FROM robotgroups.robots ORDER BY name")
    assert [(name, role) for name, role in roles if name in "ab"] == [("a", "active"), ("b", "passive")]


async def test_a_busy_group_is_not_waited_for(group: Group) -> None:
    """The heartbeat is behind it: a lock on the group's row must not hold that back."""
    robot = await group.arrive("a")
    async with await psycopg.AsyncConnection.connect(group.dsn) as holder:
        await holder.execute("SELECT FROM robotgroups.groups WHERE id = %s FOR UPDATE", (group.id,))
        await robot.session.rehearse_failover()
        beat = await robot.session.beat("a", applied=robot.registration.revision, warm=True)
        assert beat.current
