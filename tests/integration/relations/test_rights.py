"""S1: what a robot's login can do with relations, tags and files of its own group, and not with another's."""

from collections.abc import AsyncIterator
from typing import TypedDict

import psycopg
import pytest
from psycopg import errors

from robotgroups.errors import NotActiveError, NotPermittedError, UnknownMemoryError
from robotgroups.filing import FileDraft
from robotgroups.group import AsyncRobotGroup
from robotgroups.recall import Filters
from robotgroups.relations import walk_of
from robotgroups.store import Store, robot_dsn

from .conftest import Bench

pytestmark = pytest.mark.anyio


class Claim(TypedDict):
    """Who writes, under which tenure."""

    robot: str
    tenure: int


@pytest.fixture
async def login(group: AsyncRobotGroup, bench: Bench) -> AsyncIterator[Store]:
    """The store as a robot of the group sees it."""
    name = await bench.store.ensure_login(group._group_id, "secret")
    async with await Store.open(robot_dsn(bench.dsn, name, "secret")) as store:
        yield store
    await bench.store.delete_group(group._group_id)


async def test_a_robot_does_all_of_it_in_its_own_group(group: AsyncRobotGroup, bench: Bench, login: Store) -> None:
    ((tenure,),) = await bench.sql("SELECT tenure FROM robotgroups.robots")
    me: Claim = {"robot": "robot", "tenure": tenure}
    a, b = await group.remember("a", tags=["x"]), await group.remember("b", tags=["x"])
    mine = group._group_id
    assert await login.relate(mine, **me, source=a, target=b, kind="near", weight=1.0)
    assert await login.relate_by_tags(mine) == 2
    assert [r.memory.id for r in await login.related(mine, a, walk_of())] == [b]
    found = await login.neighbours(mine, [a], depth=1, min_weight=0.0, filters=Filters(), limit=5)
    assert [r.memory.id for r in found] == [b]
    assert await login.unrelate(mine, **me, source=a, target=b, kind="near")
    assert (await login.retag(mine, **me, memory_id=a, add=["y"])).tags == ("x", "y")
    tags = await login.tags(mine, (), 10)
    assert tags is not None
    assert tags.counts == {"x": 2, "y": 1}
    file = FileDraft.checked("f.md", "# F\n\nF.", tags=["z"])
    assert (await login.sync_file(mine, **me, file=file.as_json())).added == 1
    assert (await login.file_state(mine, file)).digest == file.digest
    assert [f.path for f in await login.files(mine, ())] == ["f.md"]
    assert (await login.unload_file(mine, **me, path="f.md", scope=())).removed == 1


async def test_a_robot_that_was_replaced_writes_nothing(group: AsyncRobotGroup, login: Store, bench: Bench) -> None:
    a, b = await group.remember("a"), await group.remember("b")
    stale: Claim = {"robot": "robot", "tenure": 77}
    for attempt in (
        login.relate(group._group_id, **stale, source=a, target=b, kind="near", weight=1.0),
        login.unrelate(group._group_id, **stale, source=a, target=b, kind="near"),
        login.retag(group._group_id, **stale, memory_id=a, add=["y"]),
        login.sync_file(group._group_id, **stale, file=FileDraft.checked("f.md", "F").as_json()),
        login.unload_file(group._group_id, **stale, path="f.md", scope=()),
    ):
        with pytest.raises(NotActiveError, match="robot is not active under tenure 77; active now: robot"):
            await attempt
    assert await bench.sql("SELECT (SELECT count(*) FROM robotgroups.relations), count(*) FROM robotgroups.files") == [
        (0, 0)
    ]


async def test_s1_another_groups_login_is_refused_everything(
    group: AsyncRobotGroup, bench: Bench, login: Store
) -> None:
    other = await bench.group("other")
    a, b = await other.remember("a", tags=["x"]), await other.remember("b", tags=["x"])
    theirs = other._group_id
    me: Claim = {"robot": "robot", "tenure": 1}
    file = FileDraft.checked("f.md", "F")
    for attempt in (
        login.relate(theirs, **me, source=a, target=b, kind="near", weight=1.0),
        login.unrelate(theirs, **me, source=a, target=b, kind="near"),
        login.related(theirs, a, walk_of()),
        login.neighbours(theirs, [a], depth=1, min_weight=0.0, filters=Filters(), limit=5),
        login.relate_by_tags(theirs),
        login.tags(theirs, (), 10),
        login.retag(theirs, **me, memory_id=a, add=["y"]),
        login.file_state(theirs, file),
        login.sync_file(theirs, **me, file=file.as_json()),
        login.unload_file(theirs, **me, path="f.md", scope=()),
        login.files(theirs, ()),
    ):
        with pytest.raises(NotPermittedError, match=f"may not use group {theirs}"):
            await attempt
    # nor by way of its own group
    with pytest.raises(UnknownMemoryError, match=f"no memory has id {a}"):
        await login.related(group._group_id, a, walk_of())
    assert await login.neighbours(group._group_id, [a, b], depth=5, min_weight=0, filters=Filters(), limit=5) == []


async def test_s1_what_the_functions_are_made_of_is_for_nobody(
    group: AsyncRobotGroup, bench: Bench, login: Store
) -> None:
    """Neither the functions that look at no login, nor the tables."""
    granted = await bench.sql(
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'robotgroups'::regnamespace AND p.proname = ANY (%s) "
        "AND has_function_privilege('robotgroups_robot', p.oid, 'EXECUTE')",
        [
            "walk", "note_tags", "tag_relations", "drop_chunks", "add_chunks", "refresh_chunks", "seen_of_file",
            "tell_changed", "given_by_files", "check_kind", "expand_tags", "merged_tags", "merged_metadata",
        ],
    )  # fmt: skip
    assert granted == []
    await group.remember("a", tags=["x"])
    await bench.settle(group)
    async with await psycopg.AsyncConnection.connect(login.dsn, autocommit=True) as connection:
        for table in ("relations", "tag_members", "tag_counts", "tag_totals", "files", "file_chunks"):
            with pytest.raises(errors.InsufficientPrivilege):
                await connection.execute(f"SELECT * FROM robotgroups.{table}".encode())
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute("SELECT robotgroups.walk(1, '{1}', 1, 0, NULL, '{}', 1)")
