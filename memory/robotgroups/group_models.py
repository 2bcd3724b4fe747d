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

from robotgroups.api_keys import ApiKeys, KeySource
from robotgroups.embedding import Embedder, EmbeddingConfig, QueryCache, make_embedder
from robotgroups.errors import (
    ArgumentError,
    EmbeddingUnavailableError,
    MissingFeatureError,
    ModelFailure,
    RobotGroupsError,
)
from robotgroups.extraction import ExtractionConfig, Extractor, make_extractor
from robotgroups.jobs import ModelInUse, Work
from robotgroups.lending import Lent

# Which model recall compares with is asked again after so long. A model's vectors stay for a minute after its time
# (retired_models in sql/0012_jobs.sql), so nobody ever compares with one that has gone.
FRESH_S = 10.0

_Key = str | None | ArgumentError


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
    key: _Key
    model: Lent[_EmbeddingModel]


@dataclass(frozen=True, slots=True)
class _Settings:
    """What was read last; ``looked_at`` in seconds, monotonic."""

    work: Work
    embedding_key: _Key
    extraction_key: _Key
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
        self._keys = keys
        self._settings: _Settings | None = None
        self._embedding: dict[int, _Made] = {}
        self._extraction: tuple[object, Lent[Extractor]] | None = None

    async def look(self) -> tuple[Work, bool]:
        """Ask Postgres, and use its settings from now on.

        Returns the work and whether settings or keys have changed: what failed by them may go well now.
        MemoryUnavailableError.
        """
        now = time.monotonic()
        work = await self._look()
        new = _Settings(work, _asked(self._keys.embedding), _asked(self._keys.extraction), now)
        former, self._settings = self._settings, new
        used = {model.id for model in (work.serving, work.target) if model is not None}
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

        Somebody waits for it: all tries together have the model's ``timeout_s``, which each has in the background.

        Raises:
            MissingFeatureError: the group has no provider of embeddings, or a part of it is not installed.
            EmbeddingError: it cannot embed the query now, or not in time; the reason tells why.
            ArgumentError: the stored settings or the key cannot be used.
            MemoryUnavailableError.

        """
        settings = await self._fresh()
        serving = settings.work.serving
        if serving is None:
            raise MissingFeatureError(
                "the group has no embedding provider: use the strategy 'fulltext', or set the group's embedding"
            )
        lent = await self._model(serving, settings)
        async with lent.use() as model:
            limit = model.embedder.config.timeout_s
            try:
                async with asyncio.timeout(limit):
                    return serving.id, await model.queries.embed_query(text)
            except TimeoutError as error:
                raise EmbeddingUnavailableError(
                    f"the query was not embedded within {limit:g} s: try again, or use the strategy 'fulltext'",
                    ModelFailure.TIMEOUT,
                ) from error

    @asynccontextmanager
    async def embedder(self, model_id: int) -> AsyncIterator[Embedder]:
        """The embedder of a model, for the length of the block.

        Raises:
            RetiredModelError: the group does not use that model, or not yet by what was read last.
            MissingFeatureError, ArgumentError: as ``embed_query``.

        """
        settings = await self._fresh()
        for model in (settings.work.target, settings.work.serving):
            if model is not None and model.id == model_id:
                lent = await self._model(model, settings)
                async with lent.use() as made:
                    yield made.embedder
                return
        raise RetiredModelError(f"the group does not use model {model_id}")

    async def _model(self, model: ModelInUse, settings: _Settings) -> Lent[_EmbeddingModel]:
        made, target = self._embedding.get(model.id), settings.work.target
        # the key is that of the model which the settings name: a former one at another place keeps its own
        elsewhere = target is not None and target.config.get("base_url") != model.config.get("base_url")
        key = made.key if made is not None and elsewhere else settings.embedding_key
        if made is not None and (made.config, made.key) == (model.config, key):
            return made.model
        embedder = make_embedder(EmbeddingConfig.from_json(model.config), _usable(key))
        assert embedder is not None  # what is stored as a model has a provider
        new = _EmbeddingModel(embedder, QueryCache(embedder))
        lent = Lent(new, new.aclose)
        self._embedding[model.id] = _Made(model.config, key, lent)
        if made is not None:
            await made.model.retire()
        return lent

    # -- extraction --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def extractor(self) -> AsyncIterator[Extractor]:
        """The extractor, for the length of the block.

        Raises:
            MissingFeatureError: the group has no provider of extraction.
            ArgumentError: the stored settings or the key cannot be used.

        """
        settings = await self._fresh()
        made_of = (settings.work.extraction, settings.extraction_key)
        if self._extraction is None or self._extraction[0] != made_of:
            extractor = make_extractor(ExtractionConfig.from_json(made_of[0]), _usable(made_of[1]))
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


def _asked(source: KeySource) -> _Key:
    """A key, or why there is none: that is a matter of those who need it."""
    try:
        return source()
    except ArgumentError as error:
        return error


def _usable(key: _Key) -> str | None:
    if isinstance(key, ArgumentError):
        raise key
    return key
