"""Highly available groups of robots (LLM agents) that share one working memory in Postgres.

``RobotGroup`` hosts robots in this process; ``Client`` talks to a group's Service. Both have asynchronous cores. They
are loaded when first used: a robot's pod starts without what it does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robotgroups.client import AsyncClient
    from robotgroups.context import Context
    from robotgroups.embedding import EmbeddingConfig, embedding_config
    from robotgroups.errors import RobotGroupsError
    from robotgroups.extraction import ExtractionConfig, extraction_config
    from robotgroups.group import AsyncRobotGroup
    from robotgroups.memories import Memory, Remembered
    from robotgroups.recall import Recalled
    from robotgroups.remembering import NewMemory
    from robotgroups.scoped_tokens import scoped_token
    from robotgroups.sync import RobotGroup
    from robotgroups.sync_client import Client

__all__ = [
    "AsyncClient",
    "AsyncRobotGroup",
    "Client",
    "Context",
    "EmbeddingConfig",
    "ExtractionConfig",
    "Memory",
    "NewMemory",
    "Recalled",
    "Remembered",
    "RobotGroup",
    "RobotGroupsError",
    "embedding_config",
    "extraction_config",
    "scoped_token",
]
_HOMES = {
    "AsyncClient": "client",
    "AsyncRobotGroup": "group",
    "Client": "sync_client",
    "Context": "context",
    "EmbeddingConfig": "embedding",
    "ExtractionConfig": "extraction",
    "Memory": "memories",
    "NewMemory": "remembering",
    "Recalled": "recall",
    "Remembered": "memories",
    "RobotGroup": "sync",
    "RobotGroupsError": "errors",
    "embedding_config": "embedding",
    "extraction_config": "extraction",
    "scoped_token": "scoped_tokens",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
