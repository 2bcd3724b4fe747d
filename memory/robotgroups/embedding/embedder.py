"""What every provider of embeddings does, and the choice of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from robotgroups.embedding.config import EmbeddingConfig, EmbeddingProvider
from robotgroups.errors import EmbeddingInputError, ModelFailure

# A text that every model takes: when that fails as well, it is not the text.
PROBE = "probe"

Vector = list[float]
Result = Vector | EmbeddingInputError


class Embedder(Protocol):
    """Makes vectors of texts. Its calls may run at once; ``aclose`` it at the end."""

    @property
    def config(self) -> EmbeddingConfig:
        """What it was made from; its ``dimensions`` is the length of every vector."""

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector of unit length for each text, in their order.

        Raises:
            EmbeddingUnavailableError: the same call may succeed later.
            EmbeddingConfigError: nothing can be embedded until settings, key or files are put right.
            EmbeddingInputError: one of the texts cannot be embedded; ``embed_each`` tells which.
            MissingFeatureError, ClosedError.

        """

    async def embed_each(self, texts: Sequence[str]) -> list[Result]:
        """As ``embed``, but a text that cannot be embedded has its error in its place and spares the others."""

    async def aclose(self) -> None:
        """Give back connections and threads. More than once does no harm."""


def make_embedder(config: EmbeddingConfig, api_key: str | None = None) -> Embedder | None:
    """The embedder of a configuration; None for provider none. Neither the network nor the model is touched yet.

    Raises:
        ArgumentError: the key cannot be sent in a header.
        MissingFeatureError: the local model is not installed; the message says how to.

    """
    if config.provider is EmbeddingProvider.OPENAI:
        from robotgroups.embedding.openai import OpenAIEmbedder  # noqa: PLC0415  its connections are made with it

        return OpenAIEmbedder(config, api_key)
    if config.provider is EmbeddingProvider.LOCAL:
        from robotgroups.embedding.local import LocalEmbedder  # noqa: PLC0415  as above

        return LocalEmbedder(config)
    return None


def all_vectors(results: Sequence[Result]) -> list[Vector]:
    """The vectors, or the first error among them."""
    for result in results:
        if isinstance(result, EmbeddingInputError):
            raise result
    return [result for result in results if not isinstance(result, EmbeddingInputError)]


def unusable(text: str) -> EmbeddingInputError | None:
    """Why no model can embed a text; None when one may."""
    if not text.strip():
        return EmbeddingInputError("a blank text cannot be embedded", ModelFailure.UNUSABLE_TEXT)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return EmbeddingInputError(
            f"a text with a lone surrogate (character {error.start}) cannot be embedded: send whole characters",
            ModelFailure.UNUSABLE_TEXT,
        )
    return None
