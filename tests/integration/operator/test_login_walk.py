"""A random walk of requests, interruptions, losses and restarts: no robot is ever cut off, and it always settles."""

import random
from dataclasses import dataclass, field

import psycopg
import pytest

from robotgroups.models import GroupKey, GroupSettings
from robotgroups.store import Store, login_of, robot_dsn
from robotgroups_operator.manifests.access import Credentials
from robotgroups_operator.secret import Login, take_login

pytestmark = pytest.mark.anyio
STEPS = 60


@dataclass
class World:
    """The Secret, and the DSN that each robot runs with."""

    store: Store
    group_id: int
    secret: Credentials | None = None
    request: str | None = None
    robots: dict[str, str] = field(default_factory=dict)

    async def operate(self, *, interrupted: bool = False) -> None:
        """One look of the operator; an interrupted one ends before the Secret is written."""
        login = await take_login(self.store, self.group_id, self.secret, self.request, in_use=bool(self.robots))
        if login is not None and not interrupted:
            self.secret = self._credentials(login)
        if not interrupted and self.secret is not None and not self.behind():
            await self.store.finish_rotation(self.group_id)

    def _credentials(self, login: Login) -> Credentials:
        rotation = self.request or (self.secret.rotation if self.secret else None)
        return Credentials(robot_dsn(self.store.dsn, login.name, login.password), "token", rotation=rotation)

    def behind(self) -> list[str]:
        """The robots that run under another login than the Secret's."""
        assert self.secret is not None
        return [name for name, dsn in self.robots.items() if login_of(dsn) != login_of(self.secret.dsn)]

    def start(self, name: str) -> None:
        """A robot (re)starts with what the Secret holds; without one the old pod runs on."""
        if self.secret is not None:
            self.robots[name] = self.secret.dsn

    async def check(self) -> None:
        """Every robot gets a new connection, and may use its group."""
        for name, dsn in self.robots.items():
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                cursor = await connection.execute("SELECT robotgroups.group_status(%s)", (self.group_id,))
                assert await cursor.fetchone() is not None, name


@pytest.mark.parametrize("seed", range(4))
async def test_no_robot_is_cut_off_and_it_settles(dsn: str, seed: int) -> None:
    dice = random.Random(seed)
    async with await Store.open(dsn) as store:
        group_id = await store.ensure_group(GroupKey("local", "default", "walk"), GroupSettings())
        world = World(store, group_id)
        for number in range(STEPS):
            _, previous = await store.logins(group_id)
            match dice.choice(("operate", "operate", "interrupted", "request", "start", "start", "lose", "stop")):
                case "operate":
                    await world.operate()
                case "interrupted":
                    await world.operate(interrupted=True)
                case "request":
                    world.request = f"request {number}"
                case "start":
                    world.start(dice.choice(("a", "b", "c")))
                case "stop" if world.robots:
                    world.robots.pop(dice.choice(sorted(world.robots)))
                case "lose" if previous is None:  # while two logins are there, the second one's password would be lost
                    world.secret = None
            await world.check()

        for _ in range(6):
            await world.operate()
            for name in world.robots:
                world.start(name)
        await world.check()
        login, previous = await store.logins(group_id)
        assert world.secret is not None
        assert (login_of(world.secret.dsn), previous) == (login, None)
        assert world.request in (None, world.secret.rotation)
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            base = f"^rg_{group_id}_{(await _database(connection))}(_[0-9]+)?$"
            cursor = await connection.execute("SELECT rolname FROM pg_roles WHERE rolname ~ %s", (base,))
            assert await cursor.fetchall() == [(login,)]


async def _database(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> object:
    cursor = await connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
    row = await cursor.fetchone()
    assert row is not None
    return row[0]
