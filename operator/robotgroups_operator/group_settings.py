"""What of a group's spec Postgres is told. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robotgroups.embedding import EmbeddingProvider, embedding_config
from robotgroups.errors import ArgumentError
from robotgroups.extraction import ExtractionProvider, extraction_config
from robotgroups.models import GroupSettings
from robotgroups_operator.observation import Problem
from robotgroups_operator.spec import Embedding, Extraction, GroupSpec, milliseconds

SETTINGS_REFUSED = "SettingsRefused"
NO_MODEL: Mapping[str, Any] = {"provider": "none"}
"""What Postgres has of a group that never had a model, to the letter: whatever differs counts as a change there."""


@dataclass(frozen=True)
class Told:
    """The settings, and what is wrong with those that were left out."""

    settings: GroupSettings
    problems: tuple[Problem, ...] = ()


def group_settings(spec: GroupSpec, resource_uid: str) -> Told:
    """The settings of a group. What the library refuses, though the schema let it through, keeps its stored value."""
    memory = spec.memory
    embedding, refused = _or_problem("embedding", lambda: _embedding(memory.embedding))
    extraction, also_refused = _or_problem("extraction", lambda: _extraction(memory.extraction))
    after = memory.expiry.after
    settings = GroupSettings(
        max_tokens=spec.max_tokens,
        language=memory.language,
        tokenizer=memory.tokenizer,
        heartbeat_ms=milliseconds(spec.failover.heartbeat),
        lease_ms=milliseconds(spec.failover.lease),
        failover_mode=spec.failover.mode,
        failover_delay_ms=milliseconds(spec.failover.delay),
        failover_cooldown_ms=milliseconds(spec.failover.cooldown),
        failback=spec.failover.failback,
        retention=memory.retention,
        suspended=spec.suspend,
        resource_uid=resource_uid,
        space=memory.space,
        eviction=memory.eviction,
        expire_after_s=int(after.total_seconds()) if after else None,
        keep_memories=memory.expiry.keep,
        embedding=embedding,
        extraction=extraction,
    )
    return Told(settings, refused + also_refused)


def _or_problem(
    name: str, make: Callable[[], Mapping[str, Any]]
) -> tuple[Mapping[str, Any] | None, tuple[Problem, ...]]:
    try:
        return make(), ()
    except ArgumentError as error:
        return None, (Problem(SETTINGS_REFUSED, f"spec.memory.{name} cannot be used: {error}"),)


def _embedding(embedding: Embedding) -> Mapping[str, Any]:
    if embedding.provider is EmbeddingProvider.NONE:
        return NO_MODEL
    return embedding_config(
        embedding.provider,
        model=embedding.model or "",
        dimensions=embedding.dimensions or 0,
        base_url=embedding.base_url or "",
    ).as_json()


def _extraction(extraction: Extraction) -> Mapping[str, Any]:
    if extraction.provider is ExtractionProvider.NONE:
        return NO_MODEL
    return extraction_config(
        extraction.provider,
        model=extraction.model or "",
        base_url=extraction.base_url or "",
        tags=extraction.tags,
        propositions=extraction.propositions,
    ).as_json()
