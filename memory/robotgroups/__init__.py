"""Highly available groups of robots (LLM agents) that share one working memory in Postgres.

``RobotGroup`` hosts robots in this process; ``Client`` talks to a group's Service. Both have asynchronous cores. They
are loaded when first used: a robot's pod starts without what it does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robotgroups.client import AsyncClient
    from robotgroups.embedding import EmbeddingConfig, embedding_config
    from robotgroups.extraction import ExtractionConfig, extraction_config
    from robotgroups.group import AsyncRobotGroup
    from robotgroups.sync import Client, RobotGroup

__all__ = [
    "AsyncClient",
    "AsyncRobotGroup",
    "Client",
    "EmbeddingConfig",
    "ExtractionConfig",
    "RobotGroup",
    "embedding_config",
    "extraction_config",
]
_HOMES = {
    "AsyncClient": "client",
    "AsyncRobotGroup": "group",
    "Client": "sync",
    "EmbeddingConfig": "embedding",
    "ExtractionConfig": "extraction",
    "RobotGroup": "sync",
    "embedding_config": "embedding",
    "extraction_config": "extraction",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
