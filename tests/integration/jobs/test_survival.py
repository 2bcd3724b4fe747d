"""Background work while Postgres goes away and comes back."""

import logging

import anyio
import pytest
from fake_llm import FakeLlm, Fault
from jobs_group import Group, vector_of
from postgres_server import PostgresServer
from robot_process import until

from robotgroups import upkeep
from robotgroups.errors import MemoryUnavailableError


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_vector_that_came_while_postgres_was_away_is_stored_when_it_is_back(
    group_of_its_own: Group, own_server: PostgresServer, fake: FakeLlm, mode: str
) -> None:
    group = group_of_its_own
    await group.declare(embedding=group.embedding())
    await group.host("a")
    fake.fail(Fault.HANG)
    (memory,) = await group.remember("water boils")

    async def asked() -> bool:
        return bool(fake.asked())

    await until(asked, "the robot is at it")
    await anyio.to_thread.run_sync(own_server.stop, mode)
    fake.recover()
    await anyio.to_thread.run_sync(own_server.start)
    await group.all_embedded(60)
    assert await group.vectors() == {memory: vector_of("water boils")}
    # and work goes on
    await group.remember("iron rusts")
    await group.all_embedded(60)
    assert len(await group.vectors()) == 2
    assert await group.jobs() == []
    texts = [text for request in fake.asked() for text in request.texts]
    if mode == "fast":
        assert texts == ["water boils", "iron rusts"]
    else:  # a crash may take the latest claims along: what was claimed is done again
        assert texts in (["water boils", "iron rusts"], ["water boils", "water boils", "iron rusts"])


async def test_upkeep_goes_on_when_postgres_is_back(
    group_of_its_own: Group,
    own_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    group = group_of_its_own
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(upkeep, "FIRST_S", 0.05)
    monkeypatch.setattr(upkeep, "EVERY_S", 0.05)
    await anyio.to_thread.run_sync(own_server.stop, "fast")
    with pytest.raises(MemoryUnavailableError):
        await upkeep.run_once(group.store)
    keeper = upkeep.Upkeep(group.store)
    keeper.start()

    async def told() -> bool:
        return "no upkeep now: Postgres is not available" in caplog.text

    await until(told, "it tells that Postgres is away")
    await anyio.to_thread.run_sync(own_server.start)
    await group.remember("water boils")
    await group.sql("UPDATE robotgroups.memories SET expires_at = now()")

    async def removed() -> bool:
        return await group.sql("SELECT id FROM robotgroups.memories") == []

    await until(removed, "what has expired is removed")
    await keeper.stop()
