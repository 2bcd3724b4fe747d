"""Announcements behind the commit, against a Postgres that fails now and then."""

import asyncio

import pytest

from robotgroups import announcing
from robotgroups.announcing import Announcer
from robotgroups.errors import MemoryUnavailableError

LIMIT_S = 5
pytestmark = pytest.mark.anyio


class Postgres:
    """Notes what was announced; ``failing`` times it cannot be reached."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.announced: list[int] = []
        self.heard = asyncio.Event()

    async def announce(self, revision: int) -> None:
        await asyncio.sleep(0)
        if self.failing:
            self.failing -= 1
            raise MemoryUnavailableError("not now")
        self.announced.append(revision)
        self.heard.set()


async def test_the_first_at_once_and_the_last_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 3600.0)
    postgres = Postgres()
    announcer = Announcer(postgres.announce)
    announcer.soon(1)
    await asyncio.wait_for(postgres.heard.wait(), LIMIT_S)
    for revision in range(2, 10):
        announcer.soon(revision)
    await announcer.close()
    assert postgres.announced == [1, 9]


async def test_what_failed_is_announced_without_another_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 0.01)
    postgres = Postgres(failing=3)
    announcer = Announcer(postgres.announce)
    announcer.soon(7)
    await asyncio.wait_for(postgres.heard.wait(), LIMIT_S)
    await announcer.close()
    assert postgres.announced == [7]


async def test_closing_tries_once_more_and_does_not_wait_for_a_postgres_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 3600.0)
    postgres = Postgres(failing=1000)
    announcer = Announcer(postgres.announce)
    announcer.soon(7)
    async with asyncio.timeout(LIMIT_S):
        while postgres.failing == 1000:
            await asyncio.sleep(0)
        await announcer.close()
    assert (postgres.announced, postgres.failing) == ([], 998)


async def test_after_a_postgres_was_set_back_lower_revisions_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 0.0)
    postgres = Postgres()
    announcer = Announcer(postgres.announce)
    for revision in (1000, 901):
        postgres.heard.clear()
        announcer.soon(revision)
        await asyncio.wait_for(postgres.heard.wait(), LIMIT_S)
    await announcer.close()
    assert postgres.announced == [1000, 901]
