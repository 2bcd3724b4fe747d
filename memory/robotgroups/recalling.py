"""Recall, as a robot and a group in this process do it: the query's time and embedding, one statement, the ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from robotgroups import timeframe as timeframes
from robotgroups.group_models import GroupModels
from robotgroups.models import Memory
from robotgroups.recall import Recalled, RecallStrategy, Request, ranked, request_of
from robotgroups.verbs import Verbs


class RecallVerbs(Verbs):
    """Searching long-term memory; ``recall_limit`` is how many memories it gives when no limit is said."""

    recall_limit: ClassVar[int] = 10

    _models: GroupModels

    async def embed_query(self, text: str) -> tuple[int, list[float]]:
        """The model that recall compares with, and the text's vector under it. Cached.

        Raises:
            MissingFeatureError: the group has no embedding provider.
            EmbeddingError, ArgumentError, MemoryUnavailableError: see ``GroupModels.embed_query``.

        """
        return await self._models.embed_query(text)

    async def recall(
        self,
        query: str,
        *,
        limit: int | None = None,
        strategy: str = "fulltext",
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        timeframe: timeframes.Timeframe | None = None,
        timezone: str = "UTC",
        scope: Mapping[str, str] | None = None,
        originators: Sequence[str] = (),
        include_forgotten: bool = False,
        into_working_memory: bool = False,
        weights: Mapping[str, float] | None = None,
        relevance: bool | Mapping[str, float] = False,
        explain: bool = False,
        widen: int = 0,
    ) -> Recalled:
        """Search long-term memory, best match first, ties to the older memory.

        ``strategy``: "fulltext" (websearch syntax: words, "a phrase", or, -not), "vector" or "hybrid". Filters:
        ``tags`` (each must match; ``a`` finds ``a:b`` too), ``metadata`` (contained), ``scope`` (contained),
        ``originators`` (any), ``timeframe`` of their creation ("last week", an ISO interval, a pair, or "auto": what
        the query says of it); days are those of ``timezone``, an IANA name, and so are times without a zone.
        ``weights``: of hybrid's fusion. ``relevance``: score by similarity, tags, recency and access. ``explain``: each
        memory's ``parts`` tell its ranks and scores. ``into_working_memory``: what was found counts as accessed and
        comes into the working set; what is there stays, the rest comes in best first, as far as it fits, and the answer
        tells where each is then. ``widen``: after what was found come up to ``limit`` memories that the filters let
        through and that relations lead to within so many steps (1..5), the strongest first; their score is the
        relation's weight.

        Raises:
            ArgumentError and its kinds: what is asked for is wrong; the message names it.
            MissingFeatureError: vector and hybrid need an embedding provider.
            EmbeddingError: the provider cannot embed the query now.
            NotActiveError, NoActiveRobotError: into the working set, and nobody may write.
            MemoryUnavailableError.

        """
        now = datetime.now(UTC)
        query, since, until = await timeframes.resolve_aside(
            query, timeframe, now=now, zone=timeframes.zone_named(timezone)
        )
        request = request_of(
            query,
            limit=self.recall_limit if limit is None else limit,
            strategy=strategy,
            tags=tags,
            metadata=metadata,
            scope=scope,
            originators=originators,
            since=since,
            until=until,
            include_forgotten=include_forgotten,
            weights=weights,
            relevance=relevance,
            widen=widen,
        )
        found = await self._found(request, parts=explain or request.relevance is not None)
        best = ranked(found, request, now)
        if request.widen and best:
            best += await self._around(best, request)
        if into_working_memory:
            best = await self._taken_in(best)
        if not explain and (request.relevance or request.widen):
            best = [replace(memory, parts=None) for memory in best]
        return Recalled(best, found.unembedded)

    async def _found(self, request: Request, *, parts: bool) -> Recalled:
        model, vector = None, None
        if request.strategy is not RecallStrategy.FULLTEXT:
            model, vector = await self.embed_query(request.query)
        return await self._store.recall(
            self._group_id,
            request.query,
            strategy=request.strategy,
            limit=request.candidates,
            filters=request.filters,
            model=model,
            vector=vector,
            fusion=request.fusion,
            parts=parts,
        )

    async def _around(self, found: list[Memory], request: Request) -> list[Memory]:
        related = await self._store.neighbours(
            self._group_id,
            [m.id for m in found],
            depth=request.widen,
            min_weight=0.0,
            filters=request.filters,
            limit=request.limit,
        )
        return [
            replace(r.memory, score=r.weight, parts={"related_by": list(r.kinds), "path": list(r.path)})
            for r in related
        ]

    async def _taken_in(self, memories: list[Memory]) -> list[Memory]:
        places, revision = await self._written(
            lambda robot, tenure: self._store.into_working_memory(
                self._group_id, robot=robot, tenure=tenure, memory_ids=[m.id for m in memories]
            )
        )
        self._acknowledge(revision)
        return [memory.placed(places.get(memory.id)) for memory in memories]
