"""Embeddings: texts to vectors of unit length, by an OpenAI-compatible endpoint or by a small model in this process.

Nothing heavy is imported until the local model is used.
"""

from robotgroups.embedding.config import EmbeddingConfig, EmbeddingProvider, embedding_config
from robotgroups.embedding.embedder import PROBE, Embedder, Result, make_embedder
from robotgroups.embedding.query_cache import QueryCache

__all__ = [
    "PROBE",
    "Embedder",
    "EmbeddingConfig",
    "EmbeddingProvider",
    "QueryCache",
    "Result",
    "embedding_config",
    "make_embedder",
]
