"""A memory before it is written: what the caller gave, checked and put in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from robotgroups.limits import check_content, check_metadata, check_scope
from robotgroups.tags import check_tags


class Draft(NamedTuple):
    """Content, tags, metadata and scope that may be stored. Make it with ``Draft.checked``."""

    content: str
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    scope: Mapping[str, str]

    @classmethod
    def checked(
        cls,
        content: str,
        *,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
    ) -> Draft:
        """Check what a caller gave.

        Raises:
            InvalidTextError, ContentTooLargeError: the content.
            InvalidTagError, InvalidMetadataError, InvalidScopeError.

        """
        return cls(check_content(content), check_tags(tags), check_metadata(metadata), check_scope(scope))
