"""The chore of embedding: memories that have no vector yet get one, new ones before old ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from robotgroups import chores
from robotgroups.claims import Claims
from robotgroups.embedding import Embedder
from robotgroups.errors import ArgumentError, EmbeddingError, EmbeddingInputError, MissingFeatureError, RobotGroupsError
from robotgroups.group_models import GroupModels, RetiredModelError
from robotgroups.jobs import Claimant, Job, JobKind, Work

BATCH = 64
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
        self._limit = BATCH
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
        most = max_characters(work.target.config) if work.target is not None else None
        total = 0
        while True:
            async with self._claims.held(who, KINDS, self._limit, most) as jobs:
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
        try:
            async with self._models.embedder(jobs[0].model) as embedder:
                vectors, refused = await _embedded(embedder, jobs)
        except (EmbeddingError, MissingFeatureError, ArgumentError) as error:
            await self._fail(who, {job.id: str(error) for job in jobs}, refused=False)
            self._limit = chores.batch(BATCH, self._limit, failed=True)
            raise
        await self._store(who, jobs[0].model, vectors)
        await self._fail(who, refused, refused=True)
        self._limit = chores.batch(BATCH, self._limit, failed=False)

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


def max_characters(config: Mapping[str, Any]) -> int | None:
    """How much of a content is worth sending to the embedder; None: all of it."""
    tokens = config.get("max_input_tokens")
    return tokens * CHARACTERS_PER_TOKEN if isinstance(tokens, int) and tokens > 0 else None
