"""A group on a real Postgres whose models are a fake endpoint on the loopback, for tests of background work."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fake_llm import FakeLlm, embedding
from robot_process import until

from robotgroups.api_keys import ApiKeys
from robotgroups.embedding import embedding_config
from robotgroups.extraction import extraction_config
from robotgroups.jobs import Claimant, Job, JobKind
from robotgroups.models import GroupKey, GroupSettings, GroupStatus, Memory
from robotgroups.presence import PresenceSession
from robotgroups.robot import HostedRobot
from robotgroups.store import Store

KEY = GroupKey("local", "default", "jobs")
API_KEY = "sk-test-0123456789"
DIMENSIONS = 32
LIMIT_S = 30


@dataclass
class Group:
    """A group of a (active) and b, c (passive), not yet hosted; `store` is the owner's."""

    dsn: str
    store: Store
    id: int
    fake: FakeLlm
    key_file: Path
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def embedding(self, model: str = "fake", dimensions: int = DIMENSIONS, **settings: Any) -> dict[str, Any]:
        """The group's embedding settings: the fake endpoint's."""
        settings = {"base_url": self.fake.base_url, "timeout_s": 5.0, **settings}
        return embedding_config("openai", model=model, dimensions=dimensions, **settings).as_json()

    def extraction(self, **settings: Any) -> dict[str, Any]:
        """The group's extraction settings: the fake endpoint's."""
        settings = {"tags": True, "propositions": True, "timeout_s": 5.0, **settings}
        return extraction_config("openai", model="fake-chat", base_url=self.fake.base_url, **settings).as_json()

    async def declare(
        self, *, embedding: dict[str, Any] | None = None, extraction: dict[str, Any] | None = None
    ) -> None:
        """Changes the group's settings, as the operator does."""
        await self.store.ensure_group(
            KEY,
            GroupSettings(
                max_tokens=100_000, heartbeat_ms=200, lease_ms=1500, embedding=embedding, extraction=extraction
            ),
        )

    async def host(self, name: str, **options: Any) -> HostedRobot:
        """Starts a robot whose key is in the file; it is stopped at the end of the test."""
        keys = ApiKeys(self.key_file.read_text, self.key_file.read_text)
        return await self.stack.enter_async_context(HostedRobot(self.store, self.id, name, keys=keys, **options))

    async def present(self, name: str) -> Claimant:
        """A robot that is present and does nothing by itself: its claims are the test's."""
        incarnation = uuid4()
        session = await self.stack.enter_async_context(await PresenceSession.open(self.dsn, self.id, incarnation))
        await session.register(name, "", replace=True)
        return Claimant(name, incarnation)

    async def crash(self, robot: HostedRobot) -> None:
        """Ends a robot as SIGKILL does: nothing is given back, nothing is said."""
        background, claims = robot._background, robot._background._claims
        await robot._heart.stop(withdraw=False)
        running = (*robot._tasks, background._task, *background._working, *claims._keepers)
        tasks = {task for task in running if task is not None}
        robot._tasks, background._task = [], None
        claims._open.clear()
        while tasks:
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=0.1)

    async def remember(self, *contents: str, tags: Sequence[str] = ()) -> list[int]:
        """Remembers from outside; the ids."""
        ids = []
        for content in contents:
            done = await self.store.remember(
                self.id, robot=None, tenure=None, content=content, tokens=len(content.split()), tags=tags
            )
            ids.append(done.id)
        return ids

    async def sql(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Runs a statement as the owner."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), arguments)
            return await cursor.fetchall() if cursor.description else []

    async def status(self) -> GroupStatus:
        """The group's state."""
        return await self.store.status(self.id)

    async def all_embedded(self, limit: float = LIMIT_S) -> None:
        """Waits until no memory waits for its embedding."""

        async def done() -> bool:
            return await self.store.unembedded(self.id) == 0

        await until(done, "every memory is embedded", limit)

    async def vectors(self, model: int | None = None) -> dict[int, list[float]]:
        """The stored vectors by their memories' ids; of the model that recall compares with, if no other is named."""
        rows = await self.sql(
            "SELECT memory_id, coalesce(embedding::real[], half::real[]) FROM robotgroups.embeddings "
            "WHERE model_id = %s ORDER BY memory_id",
            model or (await self.space())["serving"],
        )
        return dict(rows)

    async def space(self) -> dict[str, Any]:
        """The space's models."""
        ((serving, target),) = await self.sql(
            "SELECT s.serving_model, s.target_model FROM robotgroups.spaces s "
            "JOIN robotgroups.groups g ON g.space_id = s.id WHERE g.id = %s",
            self.id,
        )
        return {"serving": serving, "target": target}

    async def jobs(self) -> list[tuple[Any, ...]]:
        """(memory, kind, attempts, claimed, error, refused) of what waits."""
        return await self.sql(
            "SELECT memory_id, kind, attempts, claimed_by IS NOT NULL, error, refused FROM robotgroups.jobs "
            "ORDER BY memory_id, kind"
        )

    async def time_runs_out(self) -> None:
        """Lets the time of every claim be over."""
        await self.sql("UPDATE robotgroups.jobs SET not_before = now() WHERE claimed_by IS NOT NULL")

    async def claim(self, who: Claimant, *kinds: JobKind, limit: int = 100, lease_s: float = 30) -> list[Job]:
        """Claims as a robot does."""
        return await self.store.claim_jobs(
            self.id, who, kinds or (JobKind.EMBED, JobKind.BACKFILL), limit, lease_s=lease_s
        )

    async def memory(self, memory_id: int) -> Memory:
        """One memory."""
        return await self.store.memory(self.id, memory_id)


def vector_of(text: str, dimensions: int = DIMENSIONS) -> Any:
    """What the fake endpoint makes of a text, as far as single precision keeps it."""
    return pytest.approx(embedding(text, dimensions), abs=1e-6)
