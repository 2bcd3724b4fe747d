"""The chore of extraction: an LLM reads tags and propositions out of new memories."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from robotgroups import chores
from robotgroups.claims import Claims
from robotgroups.errors import (
    ArgumentError,
    ExtractionError,
    ExtractionInputError,
    MissingFeatureError,
    RobotGroupsError,
)
from robotgroups.extraction import Extractor
from robotgroups.group_models import GroupModels
from robotgroups.jobs import Claimant, Job, JobKind, Work

# An LLM takes a second or so for each: several at a time, few enough for a small server.
AT_A_TIME = 4
KNOWN_TAGS = 100
KNOWN_TAGS_FRESH_S = 60.0


class ExtractionChore:
    """Claims, asks, stores."""

    name = "extract"

    def __init__(self, claims: Claims, models: GroupModels) -> None:
        self._claims = claims
        self._models = models
        self._limit = AT_A_TIME
        self._known: list[str] = []
        self._known_until = -1e9

    def kinds(self, work: Work) -> frozenset[JobKind]:
        """The jobs that it does for a group with these settings."""
        return frozenset(_wanted(work.extraction))

    async def drain(self, who: Claimant, work: Work) -> int:
        """Extract until nothing is due; returns how many jobs that were.

        Raises:
            ExtractionError, ArgumentError: the model cannot, now or until settings change.
            MemoryUnavailableError.

        """
        total = 0
        while True:
            async with self._claims.held(who, _wanted(work.extraction), self._limit) as jobs:
                if not jobs:
                    return total
                try:
                    await self._extract(who, jobs)
                except MissingFeatureError:  # it was switched off a moment ago
                    return total
                total += len(jobs)

    async def _extract(self, who: Claimant, jobs: Sequence[Job]) -> None:
        try:
            async with self._models.extractor() as extractor:
                ends = await asyncio.gather(*(self._one(extractor, who, job) for job in jobs), return_exceptions=True)
        except ArgumentError as error:
            await self._fail(who, {job.id: str(error) for job in jobs}, refused=False)
            raise
        errors = [end for end in ends if end is not None]
        self._limit = chores.batch(AT_A_TIME, self._limit, failed=bool(errors))
        if errors:  # a mistake of ours first
            raise min(errors, key=lambda end: isinstance(end, RobotGroupsError))

    async def _one(self, extractor: Extractor, who: Claimant, job: Job) -> None:
        try:
            store = await self._asked(extractor, who, job)
        except ExtractionInputError as error:
            await self._fail(who, {job.id: str(error)}, refused=True)
        except ExtractionError as error:
            await self._fail(who, {job.id: str(error)}, refused=False)
            raise
        else:
            await self._claims.settle([job.id], store)

    async def _asked(self, extractor: Extractor, who: Claimant, job: Job) -> Callable[[], Awaitable[bool]]:
        """Ask the model; returns what stores its answer."""
        queue, group_id = self._claims.queue, self._claims.group_id
        if job.kind is JobKind.TAGS:
            tags = await extractor.tags(job.content, await self._known_tags())
            return lambda: queue.finish_tags(group_id, who, job, tags)
        propositions = await extractor.propositions(job.content)
        return lambda: queue.finish_propositions(group_id, who, job, propositions)

    async def _known_tags(self) -> list[str]:
        if time.monotonic() > self._known_until:
            self._known = await self._claims.queue.tags_in_use(self._claims.group_id, KNOWN_TAGS)
            self._known_until = time.monotonic() + KNOWN_TAGS_FRESH_S
        return self._known

    async def _fail(self, who: Claimant, errors: Mapping[int, str], *, refused: bool) -> None:
        claims = self._claims
        await claims.settle(errors, lambda: claims.queue.fail_jobs(claims.group_id, who, errors, refused=refused))


def _wanted(extraction: Mapping[str, Any]) -> list[JobKind]:
    if extraction.get("provider", "none") == "none":
        return []
    return [kind for kind in (JobKind.TAGS, JobKind.PROPOSITIONS) if extraction.get(kind.value)]
