"""The feed stays bounded, and whoever is behind what was pruned is told so (M3, M5)."""

from datetime import timedelta

import anyio
import pytest

from robotgroups.errors import PrunedError
from robotgroups.models import ChangeKind
from robotgroups.replica import Replica

from .conftest import Group
from .test_erasing import batch

pytestmark = pytest.mark.anyio


async def revisions(group: Group) -> list[int]:
    """What stands in the table: the last revision of each row."""
    return [r for (r,) in await group.sql("SELECT revision FROM robotgroups.changes ORDER BY revision")]


async def age(group: Group, up_to: int) -> None:
    """Makes changes an hour old."""
    await group.sql("UPDATE robotgroups.changes SET created_at = now() - interval '1 hour' WHERE revision <= %s", up_to)


async def prune(group: Group, *, keep: int = 0, most: int = 1000) -> int:
    return await group.store.prune(group.id, keep=keep, most=most)


async def test_what_every_live_robot_has_applied_and_is_old_goes_but_for_the_newest(group: Group) -> None:
    a, b = await group.arrive("a"), await group.arrive("b")
    for n in range(19):
        await group.remember(f"{n}")
    assert (await group.store.status(group.id)).revision == 20
    await a.session.beat("a", applied=20, warm=True)
    await b.session.beat("b", applied=12, warm=True)
    assert await prune(group) == 0  # all of it is young
    await age(group, 15)
    assert await prune(group, keep=10) == 10
    assert await prune(group) == 12
    await b.session.beat("b", applied=20, warm=True)
    assert await prune(group) == 15
    # out of reach at once, and then removed
    assert await revisions(group) == list(range(1, 21))
    assert await group.store.sweep(group.id, 10) == 10
    assert await group.store.sweep(group.id, 10) == 5
    assert await group.store.sweep(group.id, 10) == 0
    assert await revisions(group) == list(range(16, 21))
    assert [c.revision for c in await group.store.changes(group.id, 15)] == list(range(16, 21))
    with pytest.raises(PrunedError, match="changes up to 15 are gone: start from a snapshot") as refused:
        await group.store.changes(group.id, 14)
    assert refused.value.pruned_to == 15
    assert await prune(group) == 15


async def test_who_lives_no_more_holds_nothing_back(group: Group) -> None:
    a, b = await group.arrive("a"), await group.arrive("b")
    for n in range(9):
        await group.remember(f"{n}")
    await age(group, 10)
    await a.session.beat("a", applied=10, warm=True)
    assert await prune(group) == 1
    await group.sql("UPDATE robotgroups.presence SET heartbeat_at = now() - interval '1 minute' WHERE robot = 'b'")
    assert await prune(group) == 10
    assert b.name == "b"


async def test_with_nobody_there_only_time_and_number_count(group: Group) -> None:
    await group.store.reconcile_members(group.id, ["a"], [])
    await group.arrive("a")
    for n in range(9):
        await group.remember(f"{n}")
    await group.die("a")
    await group.sql("UPDATE robotgroups.presence SET heartbeat_at = now() - interval '1 minute'")
    await age(group, 5)
    assert await prune(group) == 5


async def test_a_robot_that_is_stuck_cannot_make_the_feed_grow_without_end(group: Group) -> None:
    await group.arrive("a")
    for n in range(29):
        await group.remember(f"{n}")
    assert await prune(group, most=20) == 10
    assert await prune(group, keep=25, most=20) == 10
    assert await group.store.sweep(group.id) == 10


async def test_a_row_of_many_stays_until_its_last_change_is_pruned(group: Group) -> None:
    await group.arrive("a")
    ids = await batch(group, *({"content": f"{n}"} for n in range(10)))
    assert await prune(group, most=5) == 6
    assert await group.store.sweep(group.id) == 1  # the role's, before it
    told = await group.store.changes(group.id, 6)
    assert [(c.revision, c.memory_id) for c in told] == list(zip(range(7, 12), ids[5:], strict=True))
    await batch(group, *({"content": f"more {n}"} for n in range(5)))
    assert await prune(group, most=5) == 11
    assert await group.store.sweep(group.id) == 1
    assert [c.revision for c in await group.store.changes(group.id, 11)] == list(range(12, 17))


async def test_a_cache_that_is_too_far_back_starts_from_a_snapshot(group: Group) -> None:
    await group.arrive("a")
    session = group.store.session(group.id)
    replica = Replica(group.store, group.id, session)
    await replica.catch_up()
    for n in range(9):
        await group.remember(f"{n}", 30)
    assert await prune(group, most=2) == (await group.store.status(group.id)).revision - 2
    await group.store.sweep(group.id)
    await replica.catch_up()
    truth = await group.store.snapshot(group.id)
    assert (replica.cache.revision, list(replica.cache.memories.values())) == (
        truth.revision,
        list(truth.working_memory),
    )
    await group.remember("one more")
    await replica.catch_up()
    assert replica.cache.revision == truth.revision + 1  # it goes on by the feed
    with pytest.raises(PrunedError):
        await anext(replica.events(1))
    await session.close()


async def test_pruning_waits_for_no_writer_that_erases_and_makes_none_wait(group: Group) -> None:
    """They lock the same rows of the feed from both ends."""
    await group.arrive("a")
    ids = [(await group.remember(f"{n}")).id for n in range(40)]

    async def erase() -> None:
        for memory_id in ids:
            await group.store._rows(
                "SELECT robotgroups.erase(%s, 'a', 1, %s, NULL, NULL, 0, 10)", (group.id, [memory_id])
            )

    async def shrink() -> None:
        for n in range(40, 0, -1):
            await prune(group, most=n)
            await group.store.sweep(group.id, 3)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(erase)
            tasks.start_soon(shrink)
    while await group.store.sweep(group.id):
        pass
    status = await group.store.status(group.id)
    ((pruned,),) = await group.sql("SELECT pruned_to FROM robotgroups.groups")
    assert await revisions(group) == list(range(pruned + 1, status.revision + 1))
    kinds = {c.kind for c in await group.store.changes(group.id, pruned)}
    assert kinds <= {ChangeKind.ADDED, ChangeKind.FORGOTTEN}


async def test_idempotency_keys_live_for_a_day_whoever_asks(group: Group) -> None:
    await group.arrive("a")
    for n in range(3):
        await group.remember(f"{n}", key=f"k{n}")
    await group.sql(
        "UPDATE robotgroups.idempotency_keys SET created_at = now() - interval '25 hours' WHERE key <> 'k2'"
    )
    assert await group.store.sweep(group.id, 1) == 1
    assert await group.store.sweep(group.id, 10) == 1
    assert await group.sql("SELECT key FROM robotgroups.idempotency_keys") == [("k2",)]
    assert (await group.store.prune(group.id, age=timedelta(0))) == 0
