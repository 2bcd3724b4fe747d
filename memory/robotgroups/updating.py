"""What an update changes of a memory, checked before anything is asked of Postgres; what it answers. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Literal

from robotgroups import tokens
from robotgroups.errors import ArgumentError
from robotgroups.limits import check_content, check_metadata
from robotgroups.tags import check_tags


class Unchanged(Enum):
    """That a value stays as it is: None already means something else."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
Expiry = datetime | Literal[Unchanged.UNCHANGED] | None


@dataclass(frozen=True, slots=True)
class Patch:
    """The new values of a memory's fields; what is None stays, and so does UNCHANGED ``expires_at`` (None: never).

    Make it with ``Patch.checked``.
    """

    content: str | None = None
    tags: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] | None = None
    expires_at: Expiry = UNCHANGED

    @classmethod
    def checked(
        cls,
        content: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Expiry = UNCHANGED,
    ) -> Patch:
        """Check what a caller gave. A time without a zone is UTC.

        Raises:
            InvalidTextError, ContentTooLargeError: the content.
            InvalidTagError, InvalidMetadataError: tags and metadata.
            ArgumentError: nothing is changed.

        """
        patch = cls(
            None if content is None else check_content(content),
            None if tags is None else check_tags(tags),
            None if metadata is None else check_metadata(metadata),
            _aware(expires_at),
        )
        if patch == cls():
            raise ArgumentError("an update changes something: give content, tags, metadata or expires_at")
        return patch

    def for_sql(self, tokenizer: str) -> dict[str, Any]:
        """Return the object that SQL's ``update_memory`` takes: the HTTP API's, with the tokens of new content."""
        counted = {} if self.content is None else {"tokens": tokens.count(self.content, tokenizer)}
        return self.as_json() | counted

    def as_json(self) -> dict[str, Any]:
        """Return the object that the HTTP API takes: what stays is not in it."""
        data: dict[str, Any] = {}
        if self.content is not None:
            data["content"] = self.content
        if self.tags is not None:
            data["tags"] = list(self.tags)
        if self.metadata is not None:
            data["metadata"] = dict(self.metadata)
        if self.expires_at is not UNCHANGED:
            data["expires_at"] = self.expires_at and self.expires_at.isoformat()
        return data


def _aware(value: Expiry) -> Expiry:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


@dataclass(frozen=True, slots=True)
class Updated:
    """The acknowledgement of an update: ``version`` counts what the memory has said.

    ``in_working_memory`` is False when it is not in the group's working set now, be it that it has grown too large.
    """

    id: int
    version: int
    revision: int
    epoch: int
    in_working_memory: bool


@dataclass(frozen=True, slots=True)
class MemoryVersion:
    """What a memory says (``until`` None) or has said; ``replaced_by`` is the robot that changed it."""

    version: int
    content: str
    tokens: int
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    since: datetime
    until: datetime | None
    replaced_by: str | None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MemoryVersion:
        """Read an object of SQL's ``memory_history`` or of the HTTP API (times in ISO 8601)."""
        return cls(
            version=data["version"],
            content=data["content"],
            tokens=data["tokens"],
            tags=tuple(data["tags"]),
            metadata=data["metadata"],
            since=datetime.fromisoformat(data["since"]),
            until=None if data["until"] is None else datetime.fromisoformat(data["until"]),
            replaced_by=data["replaced_by"],
        )

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``from_json`` reads."""
        return {
            "version": self.version,
            "content": self.content,
            "tokens": self.tokens,
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
            "since": self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "replaced_by": self.replaced_by,
        }
