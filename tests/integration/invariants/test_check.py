"""`check` finds nothing in a healthy, busy database, and exactly what was broken in one that was broken by hand."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.types.json import Jsonb

from robotgroups.check import all_checks, check
from robotgroups.erasing import Erasure
from robotgroups.errors import ArgumentError, NotFoundError, NotPermittedError, RoleError
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.store import Store, robot_dsn

from .conftest import Claim, Group
from .populating import Sql, populate

pytestmark = pytest.mark.anyio

CLAIM: Claim = {"robot": "a", "tenure": 1}
ROUNDS = 5

DAMAGE = Path(__file__).parents[2] / "fixtures" / "check" / "damage.sql"
# Of the whole server: its tests stand by themselves.
ELSEWHERE = {"fsync", "role-of-robots"}


@dataclass(frozen=True)
class Damage:
    """Statements, and what check then says; both with the names of what they are about."""

    statements: str
    expected: tuple[str, ...]


def damage() -> dict[str, Damage]:
    """The parts of DAMAGE by their names."""
    found = {}
    for part in DAMAGE.read_text().split("\n\n")[1:]:
        heading, *lines = part.strip().splitlines()
        told = tuple(line.removeprefix("--> ") for line in lines if line.startswith("--> "))
        found[heading.removeprefix("-- ")] = Damage("\n".join(x for x in lines if not x.startswith("--")), told)
    return found


@pytest.fixture
async def names(group: Group) -> dict[str, Any]:
    """Two groups with something in every table and one with a single memory; what the damage calls them."""
    await group.arrive("a")
    async with group.session() as sql:
        return await _filled(group, sql)


async def _filled(group: Group, sql: Sql) -> dict[str, Any]:
    one, two, three = await populate(sql, group.id, "A")
    others = []
    for name in ("b", "c"):
        made = await group.store.ensure_group(GroupKey("local", "default", name), GroupSettings(max_tokens=100))
        await group.store.reconcile_members(made, ["a"], [])
        others.append(made)
    b, c = others
    theirs, _, theirs3 = await populate(sql, b, "B")
    cs = (await group.store.remember(c, **CLAIM, content="C", tokens=6)).id
    login = await group.store.ensure_login(group.id, "secret")
    revision = (await group.store.status(group.id)).revision
    ((space, model, job),) = await sql(
        "SELECT g.space_id, e.id, j.id FROM robotgroups.groups g JOIN robotgroups.embedding_models e USING (space_id) "
        "JOIN robotgroups.jobs j USING (space_id) WHERE g.id = %s AND j.kind = 'embed'",
        group.id,
    )
    ((their_space, last),) = await sql(
        "SELECT g.space_id, (SELECT max(id) FROM robotgroups.spaces) FROM robotgroups.groups g WHERE g.id = %s", b
    )
    return {
        "a": group.id, "b": b, "c": c, "space": space, "their_space": their_space, "new_space": last + 1,
        "model": model,
        "job": job, "one": one, "two": two, "three": three, "theirs": theirs, "theirs3": theirs3, "cs": cs,
        "login": login,
        "revision": revision, "next": revision + 1,
    }  # fmt: skip


async def break_(admin_dsn: str, statements: str) -> None:
    """As superuser, past every trigger, foreign key and guard of the catalogue."""
    options = "-c session_replication_role=replica -c allow_system_table_mods=on -c search_path=robotgroups,public"
    async with await psycopg.AsyncConnection.connect(admin_dsn, options=options, autocommit=True) as admin:
        await admin.execute(statements.encode())


async def test_nothing_is_found_in_a_healthy_database(group: Group, names: dict[str, Any]) -> None:
    assert [str(f) for f in await check(group.store)] == []


@pytest.mark.parametrize("name", damage())
async def test_what_was_broken_is_found_exactly(group: Group, admin_dsn: str, names: dict[str, Any], name: str) -> None:
    done = damage()[name]
    await break_(admin_dsn, done.statements.format(**names))
    found = [str(f) for f in await check(group.store)]
    assert found == [line.format(**names) for line in done.expected]
    assert any(f" {name}: " in line for line in found)  # not by another check alone


def test_every_check_is_broken_once() -> None:
    names = [c.name for c in all_checks()]
    assert sorted(names) == sorted({*damage(), *ELSEWHERE})
    assert len(names) == len(set(names))


async def test_the_server_and_the_role_that_all_robots_share(group: Group, superuser_dsn: str) -> None:
    chosen = [c for c in all_checks() if c.name in ELSEWHERE]
    assert await check(group.store, chosen) == []
    async with await psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True) as admin:
        await admin.execute("ALTER SYSTEM SET fsync = off")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.execute("GRANT pg_read_all_stats TO robotgroups_robot")
        try:
            with anyio.fail_after(10):
                while len(found := await check(group.store, chosen)) < 2:
                    await anyio.sleep(0.02)
            assert [str(f) for f in found] == [
                "M1 fsync: fsync is off: what was acknowledged may not survive a crash",
                "S1 role-of-robots: robotgroups_robot can log in, or has rights beyond its functions",
            ]
        finally:
            await admin.execute("REVOKE pg_read_all_stats FROM robotgroups_robot")
            await admin.execute("ALTER SYSTEM RESET fsync")
            await admin.execute("SELECT pg_reload_conf()")


async def test_of_much_damage_the_beginning_is_told(group: Group, admin_dsn: str) -> None:
    await group.arrive("a")
    items = [{"content": f"{n}", "tokens": 1} for n in range(150)]
    await group.sql("SELECT robotgroups.remember_batch(%s, 'a', 1, %s)", group.id, Jsonb(items))
    await break_(admin_dsn, "UPDATE memories SET content_hash = content::bytea")
    found = [str(f) for f in await check(group.store)]
    assert len(found) == 101
    assert found[-1] == "M2 hashes: and more than these 100"


async def test_a_robots_login_may_not_check(group: Group) -> None:
    login = await group.store.ensure_login(group.id, "secret")
    async with await Store.open(robot_dsn(group.dsn, login, "secret")) as store:
        with pytest.raises(NotPermittedError):
            await check(store)


async def test_nothing_is_found_while_everything_happens(group: Group) -> None:
    """Robots come and go, memories of every kind are written, erased and pruned, in a space that two groups share."""
    await group.arrive("a")
    await group.arrive("b")
    settings = Jsonb({"space": "hive", "language": "english", "max_tokens": 60})
    shared = []
    for name in ("x", "y"):
        ((made,),) = await group.sql("SELECT robotgroups.ensure_group('local', 'default', %s, %s)", name, settings)
        await group.store.reconcile_members(made, ["a"], [])
        shared.append(made)
    stop = anyio.Event()
    done = 0

    async def live(seed: int, group_id: int) -> None:
        nonlocal done
        while not stop.is_set():
            step = random.Random(seed * 1_000_003 + done)
            with contextlib.suppress(RoleError, NotFoundError, ArgumentError):
                await _something(group, group_id, step)
            done += 1

    found = []
    async with anyio.create_task_group() as tasks:
        for seed, group_id in enumerate([group.id, group.id, *shared, *shared]):
            tasks.start_soon(live, seed, group_id)
        for _ in range(ROUNDS):
            at = done
            found += await check(group.store)
            with anyio.fail_after(60):
                while done < at + 50:
                    await anyio.sleep(0.01)
        stop.set()
    assert [str(f) for f in found] == []


async def _something(group: Group, group_id: int, chosen: random.Random) -> None:
    tenure = next(r.tenure for r in (await group.store.status(group_id)).robots if r.name == "a")
    claim: Claim = {"robot": "a", "tenure": tenure}
    memory_id = chosen.randint(1, 40)
    store = group.store

    async def remember() -> object:
        items = [
            {"content": f"{chosen.randint(1, 60)}", "tokens": chosen.randint(1, 30), "tags": ["t"]} for _ in range(3)
        ]
        unique = list({i["content"]: i for i in items}.values())
        return await group.sql("SELECT robotgroups.remember_batch(%s, 'a', %s, %s)", group_id, tenure, Jsonb(unique))

    async def update() -> object:
        patch = Jsonb({"content": f"{chosen.randint(1, 60)} again", "tokens": chosen.randint(1, 30)})
        return await group.sql(
            "SELECT robotgroups.update_memory(%s, 'a', %s, %s, %s)", group_id, tenure, memory_id, patch
        )

    async def shrink() -> object:
        return await store.prune(group_id, keep=0, most=chosen.randint(1, 50)), await store.sweep(group_id, 7)

    async def pin() -> object:
        return await group.sql(
            "SELECT robotgroups.pin(%s, 'a', %s, %s, %s)", group_id, tenure, [memory_id], chosen.random() < 0.5
        )

    async def switch() -> object:
        return await store.failover(group_id, detected_by="test")

    steps: list[Callable[[], Awaitable[object]]] = [
        remember, remember, remember, update, update, shrink, pin, switch,
        lambda: store.forget(group_id, **claim, memory_id=memory_id),
        lambda: store.restore(group_id, **claim, memory_id=memory_id),
        lambda: store.erase(group_id, **claim, erasure=Erasure.checked(memory_id)),
        lambda: store.clear_working_memory(group_id, **claim),
        lambda: store.lex(group_id, 5),
        lambda: store.relate_by_tags(group_id),
    ]  # fmt: skip
    try:
        await chosen.choice(steps)()
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith("RG"):  # refused by the schema's own rules
            raise
