"""The client of a group's Service against real robots, through a failover."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from robot_process import RobotProcess, robots, until

from robotgroups import AsyncClient, Client
from robotgroups.errors import ArgumentError, MissingFeatureError, NotPermittedError, UnknownMemoryError
from robotgroups.models import Change, ChangeKind, GroupKey, GroupSettings
from robotgroups.store import Store, robot_dsn

KEY = GroupKey("cluster-uid", "namespace-uid", "served")
TOKEN = "a-token-of-the-group"


@dataclass
class Served:
    """Two robots, ready. `url` is the standby's: it forwards, as any robot behind the Service would."""

    store: Store
    id: int
    primary: RobotProcess
    standby: RobotProcess

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.standby.port}"

    async def replace_primary(self) -> None:
        """Waits until the standby has found out that the primary is dead."""

        async def promoted() -> bool:
            return (await self.store.status(self.id)).active == ("standby",)

        await until(promoted, "the standby is promoted")


@pytest.fixture
async def served(dsn: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with await Store.open(dsn) as store:
        group_id = await store.ensure_group(KEY, GroupSettings(max_tokens=8000, heartbeat_ms=200, lease_ms=1500))
        await store.reconcile_members(group_id, ["primary"], ["standby"])
        login = await store.ensure_login(group_id, "secret")
        async with robots(["primary", "standby"], KEY, robot_dsn(dsn, login, "secret"), TOKEN, tmp_path) as made:
            for robot in made.values():
                robot.start()
            for robot in made.values():
                await robot.ready()
            yield Served(store, group_id, made["primary"], made["standby"])
        await store.delete_group(group_id)


async def test_every_call_against_a_real_service(served: Served) -> None:
    async with AsyncClient(served.url, TOKEN) as client:
        done = await client.remember("Customer prefers email", tags=["contact"], metadata={"vip": True}, key="k")
        assert (done.created, done.in_working_memory, done.tokens) == (True, True, 3)
        again = await client.remember("Customer prefers email", key="k")
        assert again == done
        (found,) = await client.recall("customers", tags=["contact"], metadata={"vip": True}, timeframe="2020-01-01/..")
        assert (found.id, found.content, found.originator) == (done.id, "Customer prefers email", "primary")
        assert await client.recall("customers", timeframe="../2020-01-01") == []
        assert [m.id for m in await client.recall("customers", timeframe="past hour")] == [done.id]
        assert [m.id for m in await client.recall("customers in the past hour", timeframe="auto")] == [done.id]
        assert await client.recall("customers 2 years ago", timeframe="auto") == []
        with pytest.raises(ArgumentError, match="timeframe 'some day' is no time that can be read"):
            await client.recall("customers", timeframe="some day")

        async def cached() -> bool:
            return [m.id for m in await client.working_memory()] == [done.id]

        await until(cached, "the standby has the memory")
        made = await client.context(strategy="recent", max_tokens=100, query="email")
        assert (made.text, made.memory_ids) == ("Customer prefers email", (done.id,))
        status = await client.status()
        assert (status["active"], status["working_memory_nodes"], status["robot"]["name"]) == (
            ["primary"],
            1,
            "standby",
        )
        assert (await client.forget(done.id)).revision == done.revision + 1
        assert (await client.restore(done.id)).revision == done.revision + 2
        assert await client.clear_working_memory() == 1
        with pytest.raises(UnknownMemoryError, match="999"):
            await client.forget(999)
        with pytest.raises(MissingFeatureError, match="the group has no embedding provider"):
            await client.recall("x", strategy="vector")
        with pytest.raises(ArgumentError, match="content"):
            await client.remember(" ")
        assert (await client.switchover("standby", source="primary")).replaced == "primary"
        assert (await client.switchover()).promoted == "primary"
        with pytest.raises(ArgumentError, match="primary is active already"):
            await client.switchover("primary")
        assert (await client.failover("primary")).promoted == "standby"
    async with AsyncClient(served.url, "wrong", deadline=5) as client:
        with pytest.raises(NotPermittedError):
            await client.status()


async def test_a_killed_primary_costs_no_acknowledged_memory_and_no_event(served: Served) -> None:
    acknowledged: dict[str, int] = {}
    seen: list[Change] = []
    stop = anyio.Event()

    async def write(client: AsyncClient, writer: int) -> None:
        number = 0
        while not stop.is_set():
            content = f"writer {writer}, memory {number}"
            acknowledged[content] = (await client.remember(content)).id
            number += 1

    async def follow(client: AsyncClient, after: int) -> None:
        async for change in client.events(after):
            seen.append(change)  # noqa: PERF401  it is read while it grows

    async with AsyncClient(served.url, TOKEN) as client, anyio.create_task_group() as tasks:
        start = (await served.store.status(served.id)).revision
        tasks.start_soon(follow, client, start)
        async with anyio.create_task_group() as writers:
            for writer in range(4):
                writers.start_soon(write, client, writer)

            async def written(count: int) -> None:
                async def enough() -> bool:
                    return len(acknowledged) >= count

                await until(enough, f"{count} memories are acknowledged")

            await written(40)
            await served.primary.kill()
            at_death = len(acknowledged)
            await served.replace_primary()
            await written(at_death + 40)
            stop.set()
        end = (await served.store.status(served.id)).revision

        async def followed() -> bool:
            return bool(seen) and seen[-1].revision >= end

        await until(followed, "the feed has reached the end")
        tasks.cancel_scope.cancel()

    kept = {m.content: m.id for m in (await served.store.snapshot(served.id)).working_memory}
    assert acknowledged.items() <= kept.items()
    assert set(kept) - set(acknowledged) == set(), "what was tried until it was acknowledged is in once"
    assert [c.revision for c in seen] == list(range(start + 1, end + 1))
    roles = [c for c in seen if c.kind is ChangeKind.ROLE]
    assert [(c.payload["from"], c.payload["to"]) for c in roles] == [("primary", "standby")]


async def test_the_synchronous_client(served: Served) -> None:
    def use() -> list[int]:
        with Client(served.url, TOKEN) as client:
            ids = [client.remember(f"memory {i}").id for i in range(3)]
            feed = client.events(0)
            kinds = [next(feed).kind for _ in range(4)]
            feed.close()
            assert kinds == [ChangeKind.ROLE, ChangeKind.ADDED, ChangeKind.ADDED, ChangeKind.ADDED]
            assert sorted(m.id for m in client.recall("memory")) == ids
            assert client.forget(ids[0]).id == client.restore(ids[0]).id == ids[0]
            assert client.status()["working_memory_nodes"] == 3
            assert client.clear_working_memory() == 3
            assert client.switchover("standby").promoted == "standby"
            assert client.switchover(source="standby").promoted == "primary"
            assert client.failover().promoted == "standby"
            return ids

    assert await anyio.to_thread.run_sync(use) == [1, 2, 3]
