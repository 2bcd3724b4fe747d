"""The settings that an export tells of, for a group that is to be made like it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robotgroups import fields, tokens
from robotgroups.embedding.config import EmbeddingConfig
from robotgroups.errors import ArgumentError
from robotgroups.extraction.config import ExtractionConfig
from robotgroups.models import Eviction, Failback, FailoverMode, GroupSettings, Retention
from robotgroups.transfer.format import Header


def _whole(name: str, value: Any) -> int:
    fields.whole(name, value, 1)
    return int(value)


def _whole_or_zero(name: str, value: Any) -> int:
    fields.whole(name, value, 0)
    return int(value)


def _text(name: str, value: Any) -> str:
    fields.text(name, value)
    return str(value)


def _tokenizer(name: str, value: Any) -> str:
    tokens.encoding(_text(name, value))
    return str(value)


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ArgumentError(f"{name} must be a JSON object, not {value!r}")
    return value


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "max_tokens": _whole,
    "language": _text,
    "tokenizer": _tokenizer,
    "heartbeat_ms": _whole,
    "lease_ms": _whole,
    "failover_mode": lambda name, value: fields.choice(name, value, FailoverMode),
    "failover_delay_ms": _whole_or_zero,
    "failover_cooldown_ms": _whole_or_zero,
    "failback": lambda name, value: fields.choice(name, value, Failback),
    "retention": lambda name, value: fields.choice(name, value, Retention),
    "space": _text,
    "eviction": lambda name, value: fields.choice(name, value, Eviction),
    "expire_after_s": _whole,
    "keep_memories": _whole,
    "embedding": lambda name, value: EmbeddingConfig.from_json(_object(name, value)).as_json(),
    "extraction": lambda name, value: ExtractionConfig.from_json(_object(name, value)).as_json(),
}


def settings_of(header: Header) -> GroupSettings:
    """The settings that a header tells of; what it leaves out, or has null for, has its default.

    Raises:
        ArgumentError: one that there is not, or a wrong value.

    """
    given = {name: value for name, value in header.settings.items() if value is not None}
    fields.known("settings", given, _READERS)
    return GroupSettings(**{name: _READERS[name](f"settings.{name}", value) for name, value in given.items()})
