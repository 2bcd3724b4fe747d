"""M1, M3, M4, M5 and R1 under a random life: every cache, at every revision that it has, equals the group at it.

What a group was at every revision is written down by a trigger in Postgres itself, at the end of the transaction
that made the revision: neither the library's reader nor its cache has a part in the truth.
"""

import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from robotgroups.cache import Cache
from robotgroups.models import Change, ChangeKind, GroupKey, Memory, Snapshot, roles_from_json
from robotgroups.replica import Replica
from robotgroups.store import Store

from .conftest import Group
from .walking import SPACE, Home, Seen, Walk, seen, settings_of

STEPS = 300
FRESH = "fresh"
RECORD = """
CREATE TABLE public.truth (group_id bigint, revision bigint, state jsonb NOT NULL, PRIMARY KEY (group_id, revision));
CREATE FUNCTION public.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.truth SELECT NEW.group_id, (s->>'revision')::bigint, s FROM robotgroups.snapshot(NEW.group_id) s
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record AFTER INSERT ON robotgroups.changes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION public.record();
"""


def true(state: Mapping[str, Any]) -> Seen:
    memories = {m["id"]: Memory.from_json(m) for m in state["working_memory"]}
    tokens = sum(m.tokens for m in memories.values())
    return Seen(state["revision"], state["epoch"], roles_from_json(state["roles"]), memories, tokens)


@pytest.fixture
async def homes(dsn: str, admin_dsn: str) -> AsyncIterator[list[Home]]:
    """Two groups of one space: the first of a, b, c and d, the second of e and f."""
    async with (
        await Store.open(dsn) as store,
        await Store.open(dsn, application_name="writer") as writer,
        AsyncExitStack() as stack,
    ):
        made = []
        for name, active, passive in [("walker", "ab", "cd"), ("neighbour", "e", "f")]:
            key = GroupKey("local", "default", name)
            group_id = await store.ensure_group(key, settings_of(max_tokens=1000))
            await store.reconcile_members(group_id, list(active), list(passive))
            group = Group(dsn, admin_dsn, store, writer, group_id)
            await stack.enter_async_context(group.stack)
            made.append(Home(key, group, active + passive))
        yield made


@pytest.mark.parametrize("seed", [1, 2, FRESH])
async def test_every_cache_equals_its_group_at_every_revision_whatever_happens(
    homes: list[Home], monkeypatch: pytest.MonkeyPatch, seed: int | str
) -> None:
    if seed == FRESH:
        seed = int(os.environ.get("ROBOTGROUPS_WALK_SEED") or random.SystemRandom().getrandbits(32))
    print(f"to walk like this again: ROBOTGROUPS_WALK_SEED={seed} and the seed {FRESH!r}")  # shown when it fails
    starts = [await home.group.store.snapshot(home.group.id) for home in homes]
    await homes[0].group.sql(RECORD)
    walk = Walk(homes, random.Random(seed))
    record_every_revision(walk, monkeypatch)
    for home in homes:
        for name in home.names:
            await walk.start(name)
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(walk.write_from_elsewhere, stop)
        try:
            await walk.run(STEPS)
        finally:
            stop.set()
    for name, robot in walk.robots.items():
        await walk.home(name).group.agrees(robot)
    walk.look()
    for home, start in zip(homes, starts, strict=True):
        await check_group(home, start, walk.erased)
    await check_space(walk)


def record_every_revision(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Replica._apply

    def recorded(replica: Replica, change: Change) -> None:
        apply(replica, change)
        walk.applied(replica, change)

    monkeypatch.setattr(Replica, "_apply", recorded)


async def check_group(home: Home, start: Snapshot, erased: set[int]) -> None:
    group = home.group
    # first: the robots live on, and may go further before the truth is read
    final = await group.store.snapshot(group.id)
    rows = await group.sql(
        "SELECT revision, state FROM public.truth WHERE group_id = %s AND revision <= %s", group.id, final.revision
    )
    truth = {revision: true(state) for revision, state in rows}
    # M3: gap-free; a cache that takes every change, one by one, passes through exactly what the group was. What one
    # transaction did is true at its last revision.
    cache, changes, replay = Cache(start), [], {start.revision: seen(Cache(start)).told(erased)}
    while cache.revision < final.revision:
        for change in await group.store.changes(group.id, cache.revision, final.revision - cache.revision):
            cache.apply(change)
            changes.append(change)
            replay[change.revision] = seen(cache).told(erased)
            if change.revision in truth:
                assert replay[change.revision] == truth[change.revision].told(erased), change
    assert list(replay) == list(range(start.revision, final.revision + 1))
    assert set(truth) <= set(replay)
    assert final.revision in truth
    assert list(cache.memories.values()) == list(final.working_memory)
    # M4
    assert [r for r, state in rows if truth[r].tokens > state["max_tokens"]] == []
    # M3, M5: the robots' caches, at whatever revisions they were
    assert [saw for saw in home.caught if saw.told(erased) != replay[saw.revision]] == []
    assert [s for s in home.caught if s.tokens != sum(m.tokens for m in s.memories.values())] == []
    assert {saw.revision for saw in home.caught} >= set(replay) - {start.revision}
    # R1
    epochs = [c.epoch for c in changes if c.kind is ChangeKind.ROLE]
    assert epochs == list(range(start.epoch + 1, final.epoch + 1))
    failovers = await group.store.failovers(group.id, 1000)
    assert len({f.epoch for f in failovers}) == len(failovers)


async def check_space(walk: Walk) -> None:
    """M1, M2: what was acknowledged is there, once, and nothing else."""
    rows = await walk.homes[0].group.sql(
        "SELECT m.id, m.content, m.forgotten_at IS NOT NULL FROM robotgroups.memories m "
        "JOIN robotgroups.spaces s ON s.id = m.space_id WHERE s.name = %s ORDER BY m.id",
        SPACE,
    )
    assert {i: content for i, content, _ in rows} == walk.acknowledged
    assert {i for i, _, forgotten in rows if forgotten} == walk.forgotten
    assert walk.erased.isdisjoint(walk.acknowledged)
    assert walk.written > STEPS / 10
