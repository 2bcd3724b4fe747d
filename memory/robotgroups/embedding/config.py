"""What a group's embeddings are made by. The API key is no part of it: this is stored and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from enum import StrEnum
from typing import Any

from robotgroups import fields
from robotgroups.endpoint import MAX_TIMEOUT_S, OPENAI_URL, check_base_url
from robotgroups.errors import ArgumentError

LOCAL_MODEL, LOCAL_DIMENSIONS = "all-MiniLM-L6-v2", 384
# pgvector stores as many; its indexes take vectors of 2,000 and halfvecs of 4,000.
MAX_DIMENSIONS = 16_000
# OpenAI's limit of texts in one request.
MAX_BATCH_SIZE = 2048


class EmbeddingProvider(StrEnum):
    """Who computes the embeddings."""

    NONE = "none"
    OPENAI = "openai"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class EmbeddingConfig:
    """How texts are embedded. ``embedding_config`` makes one from plain values and fills in what a provider implies.

    ``batch_size`` is how many texts one request may carry (in the background a robot takes 256 at a time at most),
    ``timeout_s`` how long one may take. Of a text only the first ``max_input_tokens`` (of cl100k_base; 0: all) are
    sent: 8191 is the limit of OpenAI's models. The local model reads 256 tokens of its own, whatever this says.

    Raises:
        ArgumentError: it names the field, what is wrong and what to write.

    """

    provider: EmbeddingProvider = EmbeddingProvider.NONE
    model: str = ""
    dimensions: int = 0
    base_url: str = ""
    batch_size: int = 64
    timeout_s: float = 30.0
    max_input_tokens: int = 8191

    def __post_init__(self) -> None:
        fields.choice("embedding.provider", self.provider, EmbeddingProvider)
        fields.text("embedding.model", self.model)
        fields.text("embedding.base_url", self.base_url)
        fields.whole("embedding.dimensions", self.dimensions, 0, MAX_DIMENSIONS)
        fields.whole("embedding.batch_size", self.batch_size, 1, MAX_BATCH_SIZE)
        fields.whole("embedding.max_input_tokens", self.max_input_tokens, 0)
        fields.seconds("embedding.timeout_s", self.timeout_s, MAX_TIMEOUT_S)
        if self.provider is EmbeddingProvider.OPENAI:
            self._check_openai()
        elif self.provider is EmbeddingProvider.LOCAL:
            self._check_local()

    def _check_openai(self) -> None:
        if not self.model.strip():
            raise ArgumentError(
                "embedding.model is missing: provider openai needs the model's name, such as text-embedding-3-small"
            )
        if self.dimensions == 0:
            raise ArgumentError(
                f"embedding.dimensions is missing: provider openai needs how many the model gives, 1..{MAX_DIMENSIONS} "
                "(text-embedding-3-small: 1536)"
            )
        check_base_url(self.base_url, "embedding.base_url")

    def _check_local(self) -> None:
        if self.model != LOCAL_MODEL:
            raise ArgumentError(
                f"unknown embedding.model {self.model!r} of provider local: write {LOCAL_MODEL}, or leave it out"
            )
        if self.dimensions != LOCAL_DIMENSIONS:
            raise ArgumentError(
                f"embedding.dimensions of provider local is {LOCAL_DIMENSIONS}, not {self.dimensions}: leave it out"
            )
        if self.base_url:
            raise ArgumentError("embedding.base_url is for provider openai: leave it out, or change the provider")

    @property
    def vector_space(self) -> str:
        """What vectors must have in common to be compared: provider, model, dimensions; not where they were made.

        Empty for provider none.
        """
        if self.provider is EmbeddingProvider.NONE:
            return ""
        return f"{self.provider}/{self.model}/{self.dimensions}"

    def as_json(self) -> dict[str, Any]:
        """The object that ``from_json`` reads. It holds no secret."""
        return {**asdict(self), "provider": self.provider.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EmbeddingConfig:
        """Read a JSON object; what is left out has its default.

        Raises:
            ArgumentError: a wrong value, or a field that there is not.

        """
        fields.known("embedding", data, [field.name for field in fields_of(cls)])
        return embedding_config(**data)


def embedding_config(
    provider: str = "none",
    *,
    model: str = "",
    dimensions: int = 0,
    base_url: str = "",
    batch_size: int = 64,
    timeout_s: float = 30.0,
    max_input_tokens: int = 8191,
) -> EmbeddingConfig:
    """A checked configuration. Left out: OpenAI's own URL for provider openai; model and dimensions for local.

    Raises:
        ArgumentError: it names the field, what is wrong and what to write.

    """
    chosen = fields.choice("embedding.provider", provider, EmbeddingProvider)
    if chosen is EmbeddingProvider.LOCAL:
        model, dimensions = model or LOCAL_MODEL, dimensions or LOCAL_DIMENSIONS
    elif chosen is EmbeddingProvider.OPENAI:
        base_url = check_base_url(base_url or OPENAI_URL, "embedding.base_url")
    return EmbeddingConfig(chosen, model, dimensions, base_url, batch_size, timeout_s, max_input_tokens)
