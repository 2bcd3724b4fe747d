"""The queue of what is done in the background (sql/0012_jobs.sql): claimed by a robot, done, and finished or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from pgvector import HalfVector, Vector
from pgvector.psycopg.halfvec import register_halfvec_info
from pgvector.psycopg.vector import register_vector_info
from psycopg.types import TypeInfo

from robotgroups.pool import Pool

# How long a claim stands unless it is renewed: as long does what a dead robot was at wait for another one.
LEASE_S = 30.0
# Above this an embedding is stored in half precision: pgvector's index takes no longer vectors of single precision.
MAX_SINGLE_DIMENSIONS = 2000


class JobKind(StrEnum):
    """What is to be done with a memory. A backfill embeds what was there when the model was chosen."""

    EMBED = "embed"
    BACKFILL = "backfill"
    TAGS = "tags"
    PROPOSITIONS = "propositions"
    RELATE = "relate"


@dataclass(frozen=True, slots=True)
class Claimant:
    """The robot that does the work."""

    robot: str
    incarnation: UUID


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job.

    ``model`` is what an embedding is wanted by; ``serving``, when it is set, the one that recall still uses and that
    lacks this memory as well. ``version`` is the memory's when it was claimed.
    """

    id: int
    memory_id: int
    kind: JobKind
    content: str
    version: int
    attempts: int
    model: int | None
    serving: int | None


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """A model of a space: its id and the JSON of its ``EmbeddingConfig``."""

    id: int
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do for a group, and by which models.

    Recall compares with ``serving``, memories are embedded by ``target``; both None: no provider. ``extraction`` is the
    JSON of an ``ExtractionConfig``. ``due``: of which kinds jobs are due.
    """

    serving: ModelInUse | None
    target: ModelInUse | None
    extraction: Mapping[str, Any]
    due: frozenset[JobKind]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Work:
        """Read the JSON object of SQL's ``background_work``."""
        return cls(
            serving=data["serving"] and ModelInUse(**data["serving"]),
            target=data["target"] and ModelInUse(**data["target"]),
            extraction=data["extraction"],
            due=frozenset(JobKind(kind) for kind in data["due"]),
        )


class Jobs(Pool):
    """The queue's SQL functions. Every method raises MemoryUnavailableError, and NotPermittedError (S1)."""

    async def background_work(self, group_id: int) -> Work:
        """What there is to do, and the group's models. One cheap query."""
        return Work.from_json(await self._value("SELECT robotgroups.background_work(%s)", (group_id,)))

    async def claim_jobs(
        self,
        group_id: int,
        who: Claimant,
        kinds: Sequence[JobKind],
        limit: int,
        *,
        lease_s: float = LEASE_S,
        max_characters: int | None = None,
    ) -> list[Job]:
        """Claim up to ``limit`` jobs that are due, those of the first kind first; of their contents the beginning.

        Nothing is given to who is not present any more.
        """
        rows = await self._rows(
            "SELECT * FROM robotgroups.claim_jobs(%s, %s, %s, %s::text[], %s, %s, %s)",
            (group_id, who.robot, who.incarnation, list(kinds), limit, lease_s, max_characters),
        )
        return [Job(**row | {"kind": JobKind(row["kind"])}) for row in rows]

    async def renew_jobs(self, group_id: int, who: Claimant, jobs: Sequence[int], *, lease_s: float = LEASE_S) -> int:
        """Prolong claims; returns how many still stand."""
        sql = "SELECT robotgroups.renew_jobs(%s, %s, %s::bigint[], %s)"
        return int(await self._value(sql, (group_id, who.incarnation, list(jobs), lease_s)))

    async def release_jobs(self, group_id: int, who: Claimant, jobs: Sequence[int]) -> int:
        """Give claims back undone, and nothing is held against the jobs; returns how many stood."""
        sql = "SELECT robotgroups.release_jobs(%s, %s, %s::bigint[])"
        return int(await self._value(sql, (group_id, who.incarnation, list(jobs))))

    async def fail_jobs(self, group_id: int, who: Claimant, errors: Mapping[int, str], *, refused: bool) -> int:
        """Note why jobs (by their ids) could not be done; returns how many claims stood.

        They are tried again after twice the time: up to an hour when the model does not take their texts (``refused``),
        else up to a minute.
        """
        return int(
            await self._value(
                "SELECT robotgroups.fail_jobs(%s, %s, %s::bigint[], %s::text[], %s)",
                (group_id, who.incarnation, list(errors), list(errors.values()), refused),
            )
        )

    async def finish_embeddings(
        self,
        group_id: int,
        model: int,
        who: Claimant,
        vectors: Sequence[tuple[Job, list[float]]],
        *,
        done: bool = True,
    ) -> int:
        """Store the vectors of claimed jobs' memories, all of the model's length; returns how many were stored.

        The rest was updated, forgotten or claimed by somebody else since. ``done``: the jobs are over.

        Raises:
            ArgumentError: a vector of another length than the model's.

        """
        if not vectors:
            return 0
        jobs = [job for job, _ in vectors]
        single = len(vectors[0][1]) <= MAX_SINGLE_DIMENSIONS
        values = [Vector(v) if single else HalfVector(v) for _, v in vectors]
        async with self._connection() as connection:
            # its number differs from database to database: to ask for it is the smallest part of a batch's cost
            info = await TypeInfo.fetch(connection, "public.vector" if single else "public.halfvec")
            assert info is not None  # the schema cannot stand without pgvector
            (register_vector_info if single else register_halfvec_info)(connection, info)
            cursor = await connection.execute(
                "SELECT robotgroups.finish_embeddings(%s, %s, %s, %s::bigint[], %s::integer[], %b, %b, %s) AS stored",
                (
                    group_id,
                    model,
                    who.incarnation,
                    [job.id for job in jobs],
                    [job.version for job in jobs],
                    values if single else None,
                    None if single else values,
                    done,
                ),
            )
            row = await cursor.fetchone()
            assert row is not None
            return int(row["stored"])

    async def finish_tags(self, group_id: int, who: Claimant, job: Job, tags: Sequence[str]) -> bool:
        """Add tags to a claimed job's memory; caches hear of it (M3). False: too late, as with embeddings."""
        sql = "SELECT robotgroups.finish_tags(%s, %s, %s, %s::bigint, %s, %s::text[])"
        return bool(
            await self._value(sql, (group_id, who.robot, who.incarnation, job.id, job.version, list(tags))),
        )

    async def finish_propositions(self, group_id: int, who: Claimant, job: Job, propositions: Sequence[str]) -> bool:
        """Store a claimed job's memory's propositions. False: too late, as with embeddings."""
        sql = "SELECT robotgroups.finish_propositions(%s, %s, %s::bigint, %s, %s::text[])"
        return bool(await self._value(sql, (group_id, who.incarnation, job.id, job.version, list(propositions))))

    async def tags_in_use(self, group_id: int, limit: int) -> list[str]:
        """The tags of the newest memories, the most used first."""
        return list(await self._value("SELECT robotgroups.tags_in_use(%s, %s)", (group_id, limit)))

    async def unembedded(self, group_id: int, model: int | None = None) -> int:
        """How many memories vector recall does not know yet; ``model``: one that compares with another than serves."""
        if model is None:
            return int(await self._value("SELECT robotgroups.unembedded(%s)", (group_id,)))
        return int(await self._value("SELECT robotgroups.unembedded_by(%s, %s::bigint)", (group_id, model)))
