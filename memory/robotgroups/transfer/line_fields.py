"""Fields of an export's lines: which there are in each, and what each may hold. No I/O."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from robotgroups import fields
from robotgroups.errors import ArgumentError, InvalidTagError
from robotgroups.limits import check_content, check_json, check_scope, check_text, check_words, shown
from robotgroups.tags import check_tag

_LARGEST_INTEGER = 2**31 - 1
_LEAST_WEIGHT = 0.000001
# Postgres takes zones up to 15:59.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-](0\d|1[0-5]):[0-5]\d)")
_HASH = re.compile(r"[0-9a-f]{64}")

Check = Callable[[str, Any], None]


def require(data: Mapping[str, Any], *names: str) -> None:
    """ArgumentError when one of these is not there, or null."""
    for name in names:
        if data.get(name) is None:
            raise ArgumentError(f"{name} is missing")


def check_fields(kind: str, data: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Check the fields that are there; null is as if it were left out."""
    fields.known(kind, data, checks)
    for name, check in checks.items():
        if data.get(name) is not None:
            check(name, data[name])


def _content(_: str, value: Any) -> None:
    check_content(value)


def _words(name: str, value: Any) -> None:
    check_words(value, name)


def _text_list(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise ArgumentError(f"{name} must be a list of texts, not {shown(value)}")
    for text in value:
        check_words(text, name)


def _any_texts(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise ArgumentError(f"{name} must be a list of texts, not {shown(value)}")
    for text in value:
        check_text(text, name)


def clean_tag(tag: str) -> str:
    """A tag without white space around it; an older one that breaks today's rules stays what it is."""
    try:
        return check_tag(tag)
    except InvalidTagError:
        return tag


def _metadata(name: str, value: Any) -> None:
    # without the limit of its size: remembering a memory again has put its metadata together
    if not isinstance(value, dict):
        raise ArgumentError(f"{name} must be a JSON object, not {shown(value)}")
    check_json(value, name)


def _scope(_: str, value: Any) -> None:
    check_scope(value)


def _time(name: str, value: Any) -> None:
    if isinstance(value, str) and _TIME.fullmatch(value):
        with contextlib.suppress(ValueError):  # the 30th of February
            datetime.fromisoformat(value)
            return
    raise ArgumentError(f"{name} must be a time with its zone, such as 2026-03-01T09:30:00+00:00, not {shown(value)}")


def _whole(name: str, value: Any) -> None:
    fields.whole(name, value, 0, _LARGEST_INTEGER)


def _positive(name: str, value: Any) -> None:
    fields.whole(name, value, 1, _LARGEST_INTEGER)


def check_hash(name: str, value: Any) -> None:
    """ArgumentError unless it is a SHA-256."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ArgumentError(f"{name} must be 64 hexadecimal digits, not {shown(value)}")


def _kind(name: str, value: Any) -> None:
    check_words(value, name)
    if value == "tags":
        raise ArgumentError(f"{name} 'tags' is for relations that are made of tags: choose another")


def _weight(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _LEAST_WEIGHT <= value <= 1:
        raise ArgumentError(f"{name} must be between {_LEAST_WEIGHT:f} and 1, not {shown(value)}")


def _place(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise ArgumentError(f"{name} must be a JSON object, not {shown(value)}")
    _check_place(name, value)


def _check_place(name: str, value: Mapping[str, Any]) -> None:
    fields.known(name, value, _PLACE)
    for inner, check in _PLACE.items():
        if value.get(inner) is not None:
            check(f"{name}.{inner}", value[inner])


def _flag(name: str, value: Any) -> None:
    fields.flag(name, value)


def _digest(name: str, value: Any) -> None:
    if value != "":  # of a file that lacks a chunk
        check_hash(name, value)


def _any_text(name: str, value: Any) -> None:
    check_text(value, name)


_PLACE: Mapping[str, Check] = {
    "keeper": _words,
    "pinned": _flag,
    "added_at": _time,
    "access_count": _whole,
    "last_accessed_at": _time,
}
MEMORY: Mapping[str, Check] = {
    "hash": check_hash,
    "content": _content,
    "originator": _words,
    "tags": _text_list,
    "metadata": _metadata,
    "scope": _scope,
    "created_at": _time,
    "remembered_at": _time,
    "remember_count": _positive,
    "access_count": _whole,
    "last_accessed_at": _time,
    "version": _positive,
    "updated_at": _time,
    "expires_at": _time,
    "forgotten_at": _time,
    "propositions": _text_list,
    "working_memory": _place,
}
EARLIER: Mapping[str, Check] = {
    "version": _positive,
    "content": _content,
    "tags": _text_list,
    "metadata": _metadata,
    "since": _time,
    "until": _time,
    "replaced_by": _any_text,
}
RELATION: Mapping[str, Check] = {
    "source": check_hash,
    "target": check_hash,
    "kind": _kind,
    "weight": _weight,
    "created_at": _time,
}
FILE: Mapping[str, Check] = {
    "path": _words,
    "scope": _scope,
    "digest": _digest,
    "front_matter": _metadata,
    "tags": _text_list,
    "metadata": _metadata,
    "loaded_at": _time,
    "chunks": _whole,
}
CHUNK: Mapping[str, Check] = {
    "position": _whole,
    "heading": _any_texts,
    "content_hash": check_hash,
    "memory": check_hash,
    "memory_created_at": _time,
}
