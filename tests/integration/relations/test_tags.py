"""The tags of a group: listed, as a tree, searched with typos; given and taken, with all that hangs on it."""

import pytest

from robotgroups.errors import ArgumentError, InvalidTagError, UnknownMemoryError
from robotgroups.group import AsyncRobotGroup
from robotgroups.models import ChangeKind
from robotgroups.tagging import TagCount
from robotgroups.tags import TagMatch

from .conftest import Bench, without_time

pytestmark = pytest.mark.anyio


async def test_tags_are_listed_the_most_used_first_without_those_of_what_is_forgotten(group: AsyncRobotGroup) -> None:
    await group.remember("one", tags=["db:postgres", "work"])
    two = await group.remember("two", tags=["db:sqlite", "work"])
    await group.remember("three", tags=["home"], scope={"user": "u1"})
    assert await group.tags() == [
        TagCount("work", 2), TagCount("db:postgres", 1), TagCount("db:sqlite", 1), TagCount("home", 1)
    ]  # fmt: skip
    assert await group.tags(limit=2) == [TagCount("work", 2), TagCount("db:postgres", 1)]
    assert await group.tags(scope={"user": "u1"}) == [TagCount("home", 1)]
    assert await group.tags(scope={"user": "u2"}) == []
    await group.forget(two)
    assert await group.tags() == [TagCount("db:postgres", 1), TagCount("home", 1), TagCount("work", 1)]
    with pytest.raises(ArgumentError, match="limit must be between 1 and 10000, not 0"):
        await group.tags(limit=0)


async def test_the_tree_adds_up_what_is_below(group: AsyncRobotGroup) -> None:
    await group.remember("one", tags=["db:postgres:index"])
    await group.remember("two", tags=["db:postgres"])
    await group.remember("three", tags=["db:sqlite"])
    tree = await group.tag_tree()
    assert tree.lines() == ["└── db (3)", "    ├── postgres (2)", "    │   └── index (1)", "    └── sqlite (1)"]
    assert (tree.name, tree.count, tree.total) == ("", 0, 3)


async def test_tags_are_found_with_typos_and_what_was_just_said_is_among_them(
    hive: tuple[AsyncRobotGroup, AsyncRobotGroup],
) -> None:
    first, second = hive
    await first.remember("one", tags=["db:postgresql", "food:pasta"])
    assert [m.tag for m in await first.find_tags("postgersql")] == ["db:postgresql"]
    assert await first.find_tags("PASTA") == [TagMatch("food:pasta", 1.0)]
    await first.remember("two", tags=["db:postgrest"])
    assert [m.tag for m in await first.find_tags("postgres")] == ["db:postgresql", "db:postgrest"]
    assert [m.tag for m in await first.find_tags("postgres", limit=1)] == ["db:postgresql"]
    assert [m.tag for m in await second.find_tags("pasta")] == ["food:pasta"]
    assert await first.find_tags("nothing like it") == []
    assert await first.find_tags("pasta", scope={"user": "u1"}) == []
    with pytest.raises(ArgumentError, match="query must not be blank"):
        await first.find_tags(" ")


async def test_a_list_of_tags_serves_searches_until_something_changes(group: AsyncRobotGroup, bench: Bench) -> None:
    one = await group.remember("one", tags=["db"])
    assert [m.tag for m in await group.find_tags("db")] == ["db"]
    # behind the group's back: the revision stays, and so does the list, for a while
    await bench.sql("UPDATE robotgroups.memories SET tags = '{food}'")
    assert [m.tag for m in await group.find_tags("db")] == ["db"]
    await group.pin(one)
    assert await group.find_tags("db") == []


async def test_tagging_is_an_update_that_everybody_hears_of(
    hive: tuple[AsyncRobotGroup, AsyncRobotGroup], bench: Bench
) -> None:
    first, second = hive
    one = await first.remember("one", tags=["b"])
    await second.remember("one")  # both hold it
    done = await first.tag(one, "a", " b ", "c:d")
    assert (done.id, done.tags, done.version) == (one, ("b", "a", "c:d"), 2)
    assert (await bench.store.snapshot(first._group_id)).revision == done.revision
    for group in hive:
        cache = await bench.agree(group)
        assert cache.memories[one].tags == ("b", "a", "c:d")
    again = await first.tag(one, "a")
    assert (again.tags, again.version, again.revision) == (done.tags, 2, done.revision)
    less = await second.untag(one, "b", "c")
    assert (less.tags, less.version) == (("a", "c:d"), 3)
    cache = await bench.agree(first)
    assert cache.memories[one].tags == ("a", "c:d")
    assert [v.tags for v in await first.history(one)] == [("a", "c:d"), ("b", "a", "c:d"), ("b",)]
    kinds = [c.kind for c in await bench.store.changes(first._group_id, done.revision - 1)]
    assert kinds == [ChangeKind.UPDATED, ChangeKind.UPDATED]


async def test_what_cannot_be_tagged_is_refused_and_nothing_is_changed(group: AsyncRobotGroup, bench: Bench) -> None:
    one = await group.remember("one", tags=[f"tag-{n}" for n in range(63)])
    before = without_time(await group.get(one))
    with pytest.raises(InvalidTagError, match="tag 'a::b' has a blank level"):
        await group.tag(one, "good", "a::b")
    with pytest.raises(ArgumentError, match="name a tag at least"):
        await group.tag(one)
    with pytest.raises(ArgumentError, match=f"memory {one} would have 65 tags; a memory may have 64"):
        await group.tag(one, "one more", "and another")
    assert (await group.tag(one, "one more")).version == 2
    with pytest.raises(ArgumentError, match="would have 65 tags"):
        await group.tag(one, "and another")
    assert (await group.untag(one, "one more", "no such tag")).tags == before.tags
    with pytest.raises(UnknownMemoryError, match="no memory has id 99"):
        await group.tag(99, "a")
    # one that breaks the rules of today can be taken
    await bench.sql("UPDATE robotgroups.memories SET tags = '{a::b}'")
    assert (await group.untag(one, "a::b")).tags == ()
