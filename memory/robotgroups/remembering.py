"""What is to be remembered: checked, counted and written as JSON before it waits for its transaction. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from robotgroups import tokens
from robotgroups.draft import Draft
from robotgroups.errors import ArgumentError
from robotgroups.feed import new_memory
from robotgroups.limits import check_key, check_scope, check_text, check_time
from robotgroups.models import Change, ChangeKind, Remembered, make_change


@dataclass(frozen=True, slots=True)
class NewMemory:
    """One memory to keep.

    ``originator`` None: whoever writes. ``key`` makes repeated tries one (M2). ``scope`` is whom or what it belongs to,
    such as ``{"user": "u1"}``; the same content in two scopes is two memories. From ``expires_at`` on it is not found
    any more, and removed soon after.
    """

    content: str
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    originator: str | None = None
    key: str | None = None
    scope: Mapping[str, str] | None = None
    expires_at: datetime | None = None


class Item(NamedTuple):
    """A checked memory as ``remember_batch`` takes it (``json``), and what it must not share with another of its batch.

    ``same`` holds its content with its scope, and its key: two of a batch that share one have to be two batches.
    ``told`` is what ``json`` says, for what the feed will tell of it; None when Postgres may write it another way.
    """

    json: str
    tokens: int
    same: tuple[object, ...]
    tagged: bool
    told: Mapping[str, Any] | None


class Kept(NamedTuple):
    """What became of an item. ``at`` is None when it was there before; ``evicted`` left for it and what follows it."""

    item: Item
    done: Remembered
    at: datetime | None
    evicted: Sequence[int]


def changes_of(kept: Sequence[Kept], robot: str | None) -> list[Change]:
    """What the feed tells of items that ``robot`` remembered, in its order: up to the first that only it can tell of.

    A cache that is at the revision before goes on by them without reading (M5).
    """
    changes: list[Change] = []
    for one in kept:
        if one.at is None or one.item.told is None or robot is None:
            break
        at, done, item = one.at.astimezone(UTC), one.done, one.item.told
        first = done.revision - len(one.evicted)
        changes += [
            make_change(first + place, ChangeKind.EVICTED, done.epoch, memory_id, None, {}, at)
            for place, memory_id in enumerate(one.evicted)
        ]
        originator = item.get("originator", robot)
        payload = new_memory(done.id, item, originator, at, placed=done.in_working_memory)
        changes.append(make_change(done.revision, ChangeKind.ADDED, done.epoch, done.id, originator, payload, at))
    return changes


def scope_texts(scope: Mapping[str, str] | None) -> list[str]:
    """A scope as SQL keeps it: sorted ``key=value`` texts. InvalidScopeError."""
    return [f"{key}={value}" for key, value in check_scope(scope).items()]


def item_of(memory: NewMemory, tokenizer: str) -> Item:
    """Check a memory and make its item.

    Raises:
        InvalidTextError (content, originator, key), ContentTooLargeError, InvalidTagError, InvalidMetadataError,
            InvalidScopeError: ArgumentErrors that name the field; ArgumentError: ``expires_at``.

    """
    draft = Draft.checked(memory.content, tags=memory.tags, metadata=memory.metadata, scope=memory.scope)
    size = tokens.count(draft.content, tokenizer)
    data: dict[str, Any] = {"content": draft.content, "tokens": size}
    if draft.tags:
        data["tags"] = list(draft.tags)
    if draft.metadata:
        data["metadata"] = draft.metadata
    if memory.originator is not None:
        data["originator"] = check_text(memory.originator, "originator")
    if memory.key is not None:
        data["key"] = check_key(memory.key)
    scope = [f"{key}={value}" for key, value in draft.scope.items()]
    if scope:
        data["scope"] = scope
    if memory.expires_at is not None:
        data["expires_at"] = check_time(memory.expires_at, "expires_at").isoformat()
    content = (draft.content, *scope)
    same = (content,) if memory.key is None else (content, memory.key)
    # jsonb has its own way with numbers: what the feed tells of metadata is not known here
    return Item(json.dumps(data), size, same, bool(draft.tags), None if draft.metadata else data)


def items_of(memories: Sequence[NewMemory], tokenizer: str) -> list[Item]:
    """Check many. ArgumentErrors as ``item_of``, with a note of which it is."""
    items = []
    for place, memory in enumerate(memories):
        try:
            items.append(item_of(memory, tokenizer))
        except ArgumentError as error:
            error.add_note(f"it is memory {place} of {len(memories)}")
            raise
    return items
