"""A space is searched in one language: the one that was changed last, whoever makes words meanwhile."""

import anyio
import psycopg
import pytest

from robotgroups.errors import NotPermittedError
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.store import Store, robot_dsn

from .conftest import KEY, Group

pytestmark = pytest.mark.anyio
HOUSES, SEARCH = "Die Häuser sind groß", "Haus"
LANGUAGES = """
SELECT language, named_language FROM robotgroups.groups
WHERE space_id = (SELECT space_id FROM robotgroups.groups WHERE id = %s) ORDER BY id
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND wait_event_type = 'Lock'"


async def make(store: Store, name: str, language: str, space: str | None = "team") -> int:
    settings = GroupSettings(max_tokens=100, space=space, language=language)
    group_id = await store.ensure_group(GroupKey("local", "default", name), settings)
    await store.reconcile_members(group_id, ["a"], [])
    return group_id


async def say(store: Store, group_id: int, content: str) -> int:
    return (await store.remember(group_id, robot=None, tenure=None, content=content, tokens=1)).id


async def found(store: Store, group_id: int) -> list[int]:
    return [m.id for m in await store.recall(group_id, SEARCH, limit=5)]


async def in_the_way(group: Group, function: str, count: int, done: anyio.Event | None = None) -> None:
    """Wait until so many calls of a function wait for somebody's lock, or until the one that was begun is done."""
    with anyio.fail_after(10):
        while await group.sql(WAITING, f"%robotgroups.{function}(%") != [(count,)] and not (done and done.is_set()):
            await anyio.sleep(0.01)


async def test_words_that_are_made_while_the_language_changes_are_of_the_new_one(group: Group) -> None:
    await group.arrive("a")
    memory = (await group.remember(HOUSES)).id
    async with await psycopg.AsyncConnection.connect(group.dsn) as operator:
        await operator.execute(
            'SELECT robotgroups.ensure_group(%s, %s, %s, \'{"language": "german"}\')',
            (KEY.cluster, KEY.namespace_uid, KEY.name),
        )
        async with anyio.create_task_group() as tasks:
            lexed = anyio.Event()

            async def lex() -> None:
                await group.store.lex(group.id)
                lexed.set()

            tasks.start_soon(lex)
            await in_the_way(group, "lex", 1, lexed)
            await operator.commit()
    assert await group.sql("SELECT lexed_to FROM robotgroups.spaces") == [(memory,)]
    assert await found(group.store, group.id) == [memory]


async def test_a_change_of_language_waits_for_the_words_that_are_being_made(group: Group) -> None:
    await group.arrive("a")
    memory = (await group.remember(HOUSES)).id
    async with await psycopg.AsyncConnection.connect(group.dsn) as robot:
        await robot.execute("SELECT robotgroups.lex(%s, 10)", (group.id,))
        async with anyio.create_task_group() as tasks:
            done = anyio.Event()

            async def change() -> None:
                await group.store.ensure_group(KEY, GroupSettings(language="german"))
                done.set()

            tasks.start_soon(change)
            await in_the_way(group, "ensure_group", 1, done)
            await robot.commit()
    assert await found(group.store, group.id) == [memory]


async def test_the_language_of_a_space_is_the_one_that_was_changed_last(group: Group) -> None:
    store = group.store
    one = await make(store, "one", "english")
    memories = [await say(store, one, HOUSES)]
    await store.lex(one)
    two = await make(store, "two", "german")  # who joins changes nothing for those who are there
    memories.append(await say(store, two, f"{HOUSES}, alle"))
    await store.lex(two)
    assert await group.sql(LANGUAGES, one) == [("english", None), ("english", "german")]
    assert await found(store, one) == await found(store, two) == []
    ends = "the one that was changed last serves all of them, which is english here; give them the same"
    told = [(await store.status(g)).language_conflict for g in (one, two)]
    assert told == [
        f"two of the same space names another language than english: {ends}",
        f"one of the same space names another language than german: {ends}",
    ]
    await make(store, "two", "german")  # said again, it is no change
    assert await found(store, one) == []
    await make(store, "one", "german")
    assert await group.sql(LANGUAGES, one) == [("german", None), ("german", None)]
    assert await found(store, one) == await found(store, two) == memories
    assert [(await store.status(g)).language_conflict for g in (one, two)] == [None, None]
    await make(store, "two", "english")
    assert await group.sql(LANGUAGES, one) == [("english", "german"), ("english", None)]
    assert await found(store, one) == await found(store, two) == []
    await make(store, "one", "english")
    assert await group.sql(LANGUAGES, one) == [("english", None), ("english", None)]


async def test_who_joins_takes_the_language_of_the_space_and_leaves_its_words_alone(group: Group) -> None:
    store = group.store
    one = await make(store, "one", "german")
    memory = await say(store, one, HOUSES)
    await store.lex(one)
    before = await group.sql("SELECT xmin, memory_id FROM robotgroups.lexemes")
    two = await make(store, "two", "english")
    assert await found(store, two) == [memory]
    assert await group.sql("SELECT xmin, memory_id FROM robotgroups.lexemes") == before


async def test_a_space_that_has_two_languages_already_goes_on_until_one_is_changed(group: Group) -> None:
    store = group.store
    one, two = await make(store, "one", "english"), await make(store, "two", "english")
    await group.sql("UPDATE robotgroups.groups SET language = 'german' WHERE id = %s", two)
    memory = await say(store, one, HOUSES)
    await make(store, "two", "german")
    settings = GroupSettings(max_tokens=200, space="team")
    await store.ensure_group(GroupKey("local", "default", "one"), settings)
    assert await group.sql(LANGUAGES, one) == [("english", None), ("german", None)]
    assert (await store.status(one)).language_conflict is not None
    await store.lex(one)
    assert await found(store, two) == []
    await make(store, "one", "german")
    assert await found(store, one) == await found(store, two) == [memory]


async def test_a_group_of_its_own_space_has_the_language_that_it_names(group: Group) -> None:
    alone = await make(group.store, "alone", "german", space=None)
    assert await group.sql(LANGUAGES, alone) == [("german", None)]
    await make(group.store, "alone", "french", space=None)
    assert await group.sql(LANGUAGES, alone) == [("french", None)]
    assert (await group.store.status(alone)).language_conflict is None


async def test_s1_a_login_is_told_of_its_own_groups_languages_alone(group: Group) -> None:
    mine = await make(group.store, "mine", "english", space=None)
    login = await group.store.ensure_login(mine, "pass")
    async with await psycopg.AsyncConnection.connect(robot_dsn(group.dsn, login, "pass"), autocommit=True) as robot:
        cursor = await robot.execute("SELECT robotgroups.language_conflict(%s)", (mine,))
        assert await cursor.fetchall() == [(None,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await robot.execute("SELECT robotgroups.language_conflict(%s)", (group.id,))
        for statement in (
            "SELECT robotgroups.speak(1, 'english', 'german')",
            "SELECT robotgroups.later_expiry(now(), now())",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await robot.execute(statement.encode())
    async with await Store.open(robot_dsn(group.dsn, login, "pass")) as store:
        with pytest.raises(NotPermittedError):
            await store.into_working_memory(group.id, robot="a", tenure=1, memory_ids=[1])


# -- making a group ------------------------------------------------------------------------------------------------


async def test_nobodys_lock_keeps_a_group_from_being_made(group: Group) -> None:
    """Advisory locks are anybody's: whoever knew a group's name could hold the one that its making took."""
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as robot:
        await robot.execute("SELECT pg_advisory_lock(hashtextextended('local default new', 5248))")
        with anyio.fail_after(10):
            assert await make(group.store, "new", "english", space=None) != group.id


@pytest.mark.parametrize("space", [None, "team"])
async def test_who_make_the_same_group_at_once_make_one_group_and_one_space(group: Group, space: str | None) -> None:
    made: list[int] = []
    before = await group.sql("SELECT count(*) FROM robotgroups.spaces")
    async with await psycopg.AsyncConnection.connect(group.dsn) as first:
        settings = '{"space": null}' if space is None else f'{{"space": "{space}"}}'
        cursor = await first.execute("SELECT robotgroups.ensure_group('local', 'default', 'new', %s)", (settings,))
        ((group_id,),) = await cursor.fetchall()

        async def make_it() -> None:
            made.append(await make(group.store, "new", "english", space))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(make_it)
            await in_the_way(group, "ensure_group", 3)
            await first.commit()
    assert made == [group_id] * 3
    ((count,),) = before
    assert await group.sql("SELECT count(*) FROM robotgroups.spaces") == [(count + 1,)]
    assert await group.sql("SELECT count(*) FROM robotgroups.groups WHERE name = 'new'") == [(1,)]
