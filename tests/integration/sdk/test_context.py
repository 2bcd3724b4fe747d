"""A group in this process assembles its context from a robot's cache, not from Postgres."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import psycopg
import pytest

from robotgroups import AsyncRobotGroup
from robotgroups.errors import UnknownStrategyError

watched: ContextVar[list[str] | None] = ContextVar("watched", default=None)


@pytest.fixture
async def group(dsn: str) -> AsyncIterator[AsyncRobotGroup]:
    async with await AsyncRobotGroup.open("reader", ["writer"], ["standby"], max_tokens=100, dsn=dsn) as group:
        yield group


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[list[str]]]:
    """The statements that a call sends to Postgres, itself or by tasks that it begins: robots send theirs meanwhile."""
    for kind in (psycopg.AsyncConnection, psycopg.AsyncCursor):
        execute = kind.execute

        async def noted(self: Any, query: Any, *args: Any, execute: Any = execute, **more: Any) -> Any:
            if (seen := watched.get()) is not None:
                seen.append(str(query))
            return await execute(self, query, *args, **more)

        monkeypatch.setattr(kind, "execute", noted)

    async def of(call: Callable[[], Awaitable[Any]]) -> list[str]:
        seen: list[str] = []
        before = watched.set(seen)
        try:
            await call()
        finally:
            watched.reset(before)
        return seen

    return of


async def test_it_asks_postgres_nothing_where_a_robot_lives(
    group: AsyncRobotGroup, statements: Callable[..., Awaitable[list[str]]]
) -> None:
    await group.remember("the customer waits")
    assert await statements(group.context) == []
    assert await statements(lambda: group.context(strategy="recent", query="customer", max_tokens=5)) == []
    assert await statements(group.working_memory) != [], "so it would be seen"
    async with await AsyncRobotGroup.open("reader", dsn=group.dsn) as guest:
        assert await statements(guest.context) != [], "where none lives, Postgres is asked"
        assert (await guest.context()).text == "the customer waits"
    with pytest.raises(UnknownStrategyError):
        await group.context(strategy="newest")


async def test_what_was_acknowledged_here_is_in_it_at_once(group: AsyncRobotGroup) -> None:
    async def told() -> list[str]:
        return [text for text in (await group.context(strategy="recent")).text.split("\n\n") if text]

    for number in range(20):
        memory_id = await group.remember(f"memory {number}")
        assert f"memory {number}" in await told()
    await group.update(memory_id, "updated")
    assert "updated" in await told()
    await group.forget(memory_id)
    assert "updated" not in await told()
    await group.restore(memory_id)
    assert "updated" in await told()
    assert await group.pin(memory_id) == 1
    assert await group.clear_working_memory() > 0
    assert await told() == ["updated"]
    assert await group.recall("memory", limit=1, into_working_memory=True)
    assert len(await told()) == 2
    await group.erase(memory_id)
    assert len(await told()) == 1


async def test_a_robot_that_is_gone_is_not_read(group: AsyncRobotGroup) -> None:
    await group.remember("before")
    assert await group.failover() == "standby"
    await group.remember("after")
    assert (await group.context(strategy="recent")).text == "after\n\nbefore"
    await group.remove("standby")
    assert (await group.context(strategy="recent")).text == "after\n\nbefore", "from Postgres"
