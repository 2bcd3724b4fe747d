"""The chore of embedding: memories that have no vector yet get one, new ones before old ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from robotgroups import chores
from robotgroups.claims import Claims
from robotgroups.embedding import PROBE, Embedder
from robotgroups.errors import ArgumentError, EmbeddingError, EmbeddingInputError, MissingFeatureError, RobotGroupsError
from robotgroups.group_models import GroupModels, RetiredModelError
from robotgroups.jobs import Claimant, Job, JobKind, Work

# Claimed at a time: what one request may carry, within bounds. Fewer would not be worth a transaction; more would be
# held in memory, and by locks, for long.
BATCH, MOST = 64, 256
KINDS = (JobKind.EMBED, JobKind.BACKFILL)
# A token is rarely longer: what is beyond would be cut off by the embedder anyway.
CHARACTERS_PER_TOKEN = 8

logger = logging.getLogger(__name__)


class EmbeddingChore:
    """Claims, embeds, stores."""

    name = "embed"

    def __init__(self, claims: Claims, models: GroupModels) -> None:
        self._claims = claims
        self._models = models
        self._most = self._limit = BATCH
        self._told = ""

    def kinds(self, work: Work) -> frozenset[JobKind]:
        """The jobs that it does for a group with these settings."""
        return frozenset(KINDS) if work.target is not None else frozenset()

    async def drain(self, who: Claimant, work: Work) -> int:
        """Embed until nothing is due; returns how many memories that were.

        Raises:
            EmbeddingError, MissingFeatureError, ArgumentError: the model cannot, now or until settings change.
            MemoryUnavailableError.

        """
        config = work.target.config if work.target is not None else {}
        characters, most = max_characters(config), batch_of(config)
        if most != self._most:
            self._most = self._limit = most
        total = 0
        while True:
            async with self._claims.held(who, KINDS, self._limit, characters) as jobs:
                if not jobs:
                    return total
                try:
                    await self._embed(who, jobs)
                except RetiredModelError:  # another model was chosen a moment ago: look again
                    return total
                total += len(jobs)

    async def _embed(self, who: Claimant, jobs: Sequence[Job]) -> None:
        await self._embed_meanwhile(who, [job for job in jobs if job.serving is not None])
        assert jobs[0].model is not None
        suspect = chores.suspect(len(jobs), jobs[0].attempts)
        try:
            async with self._models.embedder(jobs[0].model) as embedder:
                vectors, refused = await (_tried(embedder, jobs[0]) if suspect else _embedded(embedder, jobs))
        except (EmbeddingError, MissingFeatureError, ArgumentError) as error:
            await self._fail(who, {job.id: str(error) for job in jobs}, refused=False)
            self._limit = chores.batch(self._most, self._limit, failed=True)
            raise
        await self._store(who, jobs[0].model, vectors)
        await self._fail(who, refused, refused=True)
        if not (suspect and refused):  # others like it may follow
            self._limit = chores.batch(self._most, self._limit, failed=False)

    async def _embed_meanwhile(self, who: Claimant, jobs: Sequence[Job]) -> None:
        """New memories, by the former model too, while recall still compares with it. As well as may be."""
        if not jobs:
            return
        assert jobs[0].serving is not None
        try:
            async with self._models.embedder(jobs[0].serving) as embedder:
                vectors, _ = await _embedded(embedder, jobs)
            await self._store(who, jobs[0].serving, vectors, done=False)
        except RobotGroupsError as error:
            if str(error) != self._told:
                logger.warning("vector recall does not know new memories until the new model is ready: %s", error)
            self._told = str(error)

    async def _store(
        self, who: Claimant, model: int, vectors: Sequence[tuple[Job, list[float]]], *, done: bool = True
    ) -> None:
        claims = self._claims
        await claims.settle(
            [job.id for job, _ in vectors] if done else [],
            lambda: claims.queue.finish_embeddings(claims.group_id, model, who, vectors, done=done),
        )

    async def _fail(self, who: Claimant, errors: Mapping[int, str], *, refused: bool) -> None:
        if errors:
            claims = self._claims
            await claims.settle(errors, lambda: claims.queue.fail_jobs(claims.group_id, who, errors, refused=refused))


async def _embedded(embedder: Embedder, jobs: Sequence[Job]) -> tuple[list[tuple[Job, list[float]]], dict[int, str]]:
    """Vectors, and the errors of those that the model refuses, by their jobs' ids."""
    results = await embedder.embed_each([job.content for job in jobs])
    vectors: list[tuple[Job, list[float]]] = []
    refused: dict[int, str] = {}
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, EmbeddingInputError):
            refused[job.id] = str(result)
        else:
            vectors.append((job, result))
    return vectors, refused


async def _tried(embedder: Embedder, job: Job) -> tuple[list[tuple[Job, list[float]]], dict[int, str]]:
    """As ``_embedded``, of one text that may be what makes the endpoint fail: behind one that does not."""
    await embedder.embed([PROBE])
    try:
        return await _embedded(embedder, [job])
    except EmbeddingError as error:
        if not chores.blamed(error.reason):
            raise
        return [], {job.id: f"{error}. It has answered for another text just before"}


def batch_of(config: Mapping[str, Any]) -> int:
    """How many memories to claim at a time, of which the embedder makes its requests."""
    size = config.get("batch_size")
    return min(max(BATCH, size), MOST) if isinstance(size, int) else BATCH


def max_characters(config: Mapping[str, Any]) -> int | None:
    """How much of a content is worth sending to the embedder; None: all of it."""
    tokens = config.get("max_input_tokens")
    return tokens * CHARACTERS_PER_TOKEN if isinstance(tokens, int) and tokens > 0 else None
