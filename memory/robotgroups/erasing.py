"""Which memories are to be erased: checked, so that nothing is ever erased because nothing was said. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from robotgroups.errors import ArgumentError
from robotgroups.limits import check_scope
from robotgroups.tags import check_tags

# One statement's share: the group's writers wait while it runs (some 20 ms).
BATCH = 200


@dataclass(frozen=True, slots=True)
class Erasure:
    """Memories by their ids, or those that have all of a scope and all of the tags (``a`` is ``a:b`` too).

    Make it with ``Erasure.checked``.
    """

    ids: tuple[int, ...] | None = None
    scope: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @classmethod
    def checked(
        cls,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> Erasure:
        """Check what a caller gave.

        Raises:
            ArgumentError: neither ids nor a scope nor tags, or ids together with the others.
            InvalidScopeError, InvalidTagError.

        """
        named = None if ids is None else tuple(sorted({ids} if isinstance(ids, int) else set(ids)))
        texts = tuple(f"{key}={value}" for key, value in check_scope(scope).items())
        wanted = check_tags(tags)
        if named is None and not texts and not wanted:
            raise ArgumentError("erase needs to be told what: give ids, a scope or tags")
        if named is not None and (texts or wanted):
            raise ArgumentError("erase takes ids alone, or a scope and tags: what is named needs no filter")
        return cls(named, texts, wanted)


@dataclass(frozen=True, slots=True)
class Erased:
    """One batch: how many were erased, the group's revision after it, and where to go on (None: that was all)."""

    count: int
    revision: int
    last: int | None
