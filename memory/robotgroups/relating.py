"""Relations and tags of memories, as a robot and a group in this process use them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

from robotgroups import tags as tag_rules
from robotgroups.errors import ArgumentError
from robotgroups.limits import check_text
from robotgroups.relations import RELATED_LIMIT, Related, check_kind, check_weight, walk_of
from robotgroups.relations_store import RelationsStore
from robotgroups.remembering import scope_texts
from robotgroups.tagging import MOST_TAGS, NOTHING, TAGS_LIMIT, TagCount, Tagged, TagList, TagsInUse, check_tags_limit
from robotgroups.verbs import Verbs

FIND_LIMIT = 20


async def relate_step(store: RelationsStore, group_id: int) -> int:
    """Bring relations by tags up to date, one bounded step of the background work; 0 when nothing waits for it."""
    return await store.relate_by_tags(group_id)


class RelationVerbs(Verbs):
    """Saying what is related, and walking from memory to memory."""

    async def relate(self, source: int, target: int, kind: str, weight: float = 1.0) -> bool:
        """Say that a memory is related to another: ``relate(a, b, "supports")``; returns whether that is new.

        Said again, the weight (above 0, at most 1) is the new one. It is gone when one of the two is erased.

        Raises:
            UnknownMemoryError: there is no such memory, or it is forgotten.
            ArgumentError: the kind is blank, too long or "tags", or the weight is none; or both are the same memory.
            NotActiveError, NoActiveRobotError, MemoryUnavailableError.

        """
        said, strength = check_kind(kind), check_weight(weight)
        return await self._written(
            lambda robot, tenure: self._store.relate(
                self._group_id,
                robot=robot,
                tenure=tenure,
                source=source,
                target=target,
                kind=said,
                weight=strength,
            )
        )

    async def unrelate(self, source: int, target: int, kind: str) -> bool:
        """Take a relation back; returns whether it stood. ArgumentError."""
        said = check_kind(kind)
        return await self._written(
            lambda robot, tenure: self._store.unrelate(
                self._group_id, robot=robot, tenure=tenure, source=source, target=target, kind=said
            )
        )

    async def related(
        self,
        memory_id: int,
        *,
        depth: int = 1,
        min_weight: float = 0.0,
        kinds: Sequence[str] | None = None,
        scope: Mapping[str, str] | None = None,
        limit: int = RELATED_LIMIT,
    ) -> list[Related]:
        """What a memory is related to, over up to ``depth`` (1-5) relations, the strongest first.

        Relations lead both ways. A memory's weight is the highest product of weights on a way to it; ties go to the
        nearer, then to the older memory. ``kinds``: go by these only ("tags" are those by common tags). No way leads
        through what is forgotten, has expired or is not of the ``scope``. Bounded: of each memory the 50 strongest
        relations of either direction are followed, and 200 memories at each step (``limit`` of the first, if more).

        Raises:
            UnknownMemoryError: there is no such memory, it is forgotten, or not of the scope.
            ArgumentError: a value out of its range; the message names it.

        """
        walk = walk_of(depth=depth, min_weight=min_weight, kinds=kinds, scope=scope, limit=limit)
        return await self._store.related(self._group_id, memory_id, walk)


class TagVerbs(Verbs):
    """The tags of memories: which there are, and giving and taking them."""

    @cached_property
    def _tag_lists(self) -> dict[tuple[str, ...], TagList]:
        return {}

    async def tags(self, *, scope: Mapping[str, str] | None = None, limit: int = TAGS_LIMIT) -> list[TagCount]:
        """The tags of memories that are not forgotten, the most used first, then by name. ArgumentError."""
        check_tags_limit(limit)
        found = await self._store.tags(self._group_id, scope_texts(scope), limit)
        assert found is not None
        return [TagCount(tag, count) for tag, count in found.counts.items()]

    async def tag_tree(self, *, scope: Mapping[str, str] | None = None) -> tag_rules.TagNode:
        """The tree of the tags; its root has no name. Of more than 10,000 tags, the least used are left out."""
        return tag_rules.tree((await self._tags_in_use(scope)).counts)

    async def find_tags(
        self, query: str, *, limit: int = FIND_LIMIT, scope: Mapping[str, str] | None = None
    ) -> list[tag_rules.TagMatch]:
        """Tags like a query with typos, the likest first, then by name (see ``tags.fuzzy``). ArgumentError."""
        check_tags_limit(limit)
        return tag_rules.fuzzy(query, (await self._tags_in_use(scope)).counts, limit=limit)

    async def tag(self, memory_id: int, *tags: str) -> Tagged:
        """Give a memory more tags, as an update of it; those that it has already are no change.

        Raises:
            UnknownMemoryError: there is none, or it has expired.
            InvalidTagError: a tag that cannot be; ArgumentError: none at all, or the memory would have more than 64.
            NotActiveError, NoActiveRobotError, MemoryUnavailableError.

        """
        return await self._retag(memory_id, add=_some(tags))

    async def untag(self, memory_id: int, *tags: str) -> Tagged:
        """Take tags from a memory; each alone, not what stands below it. Errors as ``tag``."""
        return await self._retag(memory_id, remove=_some(tags, checked=False))

    async def _retag(self, memory_id: int, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Tagged:
        done = await self._written(
            lambda robot, tenure: self._store.retag(
                self._group_id, robot=robot, tenure=tenure, memory_id=memory_id, add=add, remove=remove
            )
        )
        self._acknowledge(done.revision)
        return done

    async def _tags_in_use(self, scope: Mapping[str, str] | None) -> TagsInUse:
        key, now = tuple(scope_texts(scope)), time.monotonic()
        kept = self._tag_lists.get(key, NOTHING)
        found = await self._store.tags(self._group_id, key, MOST_TAGS, kept.known(now))
        if found is None:
            return kept.tags
        self._tag_lists.clear()  # one list is enough: many scopes would be many lists
        self._tag_lists[key] = TagList(found, now)
        return found


def _some(tags: Sequence[str], *, checked: bool = True) -> tuple[str, ...]:
    if not tags:
        raise ArgumentError("name a tag at least")
    if checked:
        return tag_rules.check_tags(tags)
    return tuple(check_text(tag, "tag") for tag in tags)  # a memory may have older ones that break the rules of today
