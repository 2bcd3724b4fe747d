"""The models of one group in this process, as its settings name them now: who embeds and who extracts.

They are made when they are first used, and again when the settings or the key change; whoever is at work with a former
one finishes with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from robotgroups.api_keys import ApiKeys
from robotgroups.embedding import Embedder, EmbeddingConfig, QueryCache, make_embedder
from robotgroups.errors import (
    ArgumentError,
    EmbeddingConfigError,
    EmbeddingUnavailableError,
    MissingFeatureError,
    ModelFailure,
    RobotGroupsError,
)
from robotgroups.extraction import ExtractionConfig, Extractor, make_extractor
from robotgroups.jobs import ModelInUse, Work
from robotgroups.lending import Lent
from robotgroups.placed_keys import Found, Key, PlacedKey, usable

# Which model recall compares with is asked again after so long. A model's vectors stay for a minute after its time
# (retired_models in sql/0012_jobs.sql), so nobody ever compares with one that has gone.
FRESH_S = 10.0


class RetiredModelError(RobotGroupsError):
    """The group uses that model no more."""


@dataclass(frozen=True, slots=True)
class _EmbeddingModel:
    embedder: Embedder
    queries: QueryCache

    async def aclose(self) -> None:
        await self.queries.aclose()
        await self.embedder.aclose()


@dataclass(frozen=True, slots=True)
class _Made:
    """A model, and what it was made of."""

    config: Mapping[str, Any]
    found: Found
    model: Lent[_EmbeddingModel]


@dataclass(frozen=True, slots=True)
class _Settings:
    """What was read last; ``looked_at`` in seconds, monotonic."""

    work: Work
    embedding_key: Key
    extraction_key: Key
    looked_at: float

    @property
    def of_work(self) -> object:
        """What background work depends on."""
        keys = (
            str(key) if isinstance(key, ArgumentError) else key for key in (self.embedding_key, self.extraction_key)
        )
        return (self.work.target, self.work.extraction, *keys)


class GroupModels:
    """``look`` asks Postgres for the group's settings; ``keys`` are asked for with them. ``aclose`` it at the end."""

    def __init__(self, look: Callable[[], Awaitable[Work]], keys: ApiKeys) -> None:
        self._look = look
        self._embedding_key = PlacedKey(keys.embedding, keys.embedding_for)
        self._extraction_key = PlacedKey(keys.extraction, keys.extraction_for)
        self._settings: _Settings | None = None
        self._embedding: dict[int, _Made] = {}
        self._shut: int | None = None  # the serving model, when it asks for a key that this process has not
        self._extraction: tuple[object, Lent[Extractor]] | None = None

    async def look(self) -> tuple[Work, bool]:
        """Ask Postgres, and use its settings from now on.

        Returns the work and whether settings or keys have changed: what failed by them may go well now.
        MemoryUnavailableError.
        """
        now = time.monotonic()
        work = await self._look()
        self._embedding_key.look(_place(work.target.config if work.target is not None else {}))
        self._extraction_key.look(_place(work.extraction))
        new = _Settings(work, self._embedding_key.key, self._extraction_key.key, now)
        former, self._settings = self._settings, new
        used = {model.id for model in (work.serving, work.target) if model is not None}
        if work.serving is None or self._shut != work.serving.id or not self._gives_way(work.serving, work):
            self._shut = None
        for model_id in self._embedding.keys() - used:
            await self._embedding.pop(model_id).model.retire()
        return work, former is not None and former.of_work != new.of_work

    async def _fresh(self) -> _Settings:
        if self._settings is None or time.monotonic() - self._settings.looked_at > FRESH_S:
            await self.look()
        assert self._settings is not None
        return self._settings

    # -- embeddings --------------------------------------------------------------------------------------------------

    async def embed_query(self, text: str) -> tuple[int, list[float]]:
        """The id of the model that recall compares with, and the vector of a query under it. Cached.

        That is the one which serves; one at another place whose key this process has not, and which asks for it, gives
        way to the next one. Somebody waits for it: all tries together have a model's ``timeout_s``, which each has in
        the background.

        Raises:
            MissingFeatureError: the group has no provider of embeddings, or a part of it is not installed.
            EmbeddingError: it cannot embed the query now, or not in time; the reason tells why.
            ArgumentError: the stored settings or the key cannot be used.
            MemoryUnavailableError.

        """
        settings = await self._fresh()
        serving, target = settings.work.serving, settings.work.target
        if serving is None or target is None:
            raise MissingFeatureError(
                "the group has no embedding provider: use the strategy 'fulltext', or set the group's embedding"
            )
        if serving.id != self._shut:
            try:
                return serving.id, await self._query(serving, text)
            except EmbeddingConfigError:
                if serving.id != self._shut:
                    raise
        # what the next model has embedded so far is known by it
        return target.id, await self._query(target, text)

    async def _query(self, asked: ModelInUse, text: str) -> list[float]:
        async with self._lent(asked) as model:
            limit = model.embedder.config.timeout_s
            try:
                async with asyncio.timeout(limit):
                    return await model.queries.embed_query(text)
            except TimeoutError as error:
                raise EmbeddingUnavailableError(
                    f"the query was not embedded within {limit:g} s: try again, or use the strategy 'fulltext'",
                    ModelFailure.TIMEOUT,
                ) from error

    @asynccontextmanager
    async def embedder(self, model_id: int) -> AsyncIterator[Embedder]:
        """The embedder of a model, for the length of the block.

        Raises:
            RetiredModelError: the group does not use that model, or not yet by what was read last; or it is a former
                one whose key this process has not.
            MissingFeatureError, ArgumentError: as ``embed_query``.

        """
        settings = await self._fresh()
        for model in (settings.work.target, settings.work.serving):
            if model is not None and model.id == model_id and model_id != self._shut:
                async with self._lent(model) as made:
                    yield made.embedder
                return
        raise RetiredModelError(f"the group does not use model {model_id}")

    @asynccontextmanager
    async def _lent(self, model: ModelInUse) -> AsyncIterator[_EmbeddingModel]:
        """A model, for the length of the block; in which one is found out that asks for a key that is not here."""
        made = await self._made(model)
        try:
            async with made.model.use() as lent:
                yield lent
        except EmbeddingConfigError as error:
            if not made.found.withheld or error.reason is not ModelFailure.UNAUTHORIZED:
                raise
            assert self._settings is not None
            if self._gives_way(model, self._settings.work):
                self._shut = model.id
            raise EmbeddingConfigError(
                f"{error}. This process has a key for another endpoint, and sends it nowhere else: give it this one's",
                error.reason,
            ) from error

    def _gives_way(self, model: ModelInUse, work: Work) -> bool:
        """Whether another model is to take over from one whose key this process has not."""
        waits = work.target is not None and work.target.id != model.id
        return waits and self._embedding_key.found(_place(model.config)).withheld

    async def _made(self, model: ModelInUse) -> _Made:
        former, found = self._embedding.get(model.id), self._embedding_key.found(_place(model.config))
        if former is not None and (former.config, former.found) == (model.config, found):
            return former
        embedder = make_embedder(EmbeddingConfig.from_json(model.config), usable(found.key))
        assert embedder is not None  # what is stored as a model has a provider
        new = _EmbeddingModel(embedder, QueryCache(embedder))
        made = self._embedding[model.id] = _Made(model.config, found, Lent(new, new.aclose))
        if former is not None:
            await former.model.retire()
        return made

    # -- extraction --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def extractor(self) -> AsyncIterator[Extractor]:
        """The extractor, for the length of the block.

        Raises:
            MissingFeatureError: the group has no provider of extraction.
            ArgumentError: the stored settings or the key cannot be used.

        """
        settings = await self._fresh()
        made_of = (settings.work.extraction, self._extraction_key.found(_place(settings.work.extraction)))
        if self._extraction is None or self._extraction[0] != made_of:
            extractor = make_extractor(ExtractionConfig.from_json(made_of[0]), usable(made_of[1].key))
            if extractor is None:
                raise MissingFeatureError("the group has no extraction provider: set the group's extraction")
            former, self._extraction = self._extraction, (made_of, Lent(extractor, extractor.aclose))
            if former is not None:
                await former[1].retire()
        async with self._extraction[1].use() as lent:
            yield lent

    async def aclose(self) -> None:
        """Close every model that nobody uses now; the others when they are done."""
        for made in self._embedding.values():
            await made.model.retire()
        self._embedding.clear()
        if self._extraction is not None:
            await self._extraction[1].retire()
            self._extraction = None


def _place(config: Mapping[str, Any]) -> str:
    return str(config.get("base_url") or "")
