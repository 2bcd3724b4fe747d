"""What a memory, a query and a scope may hold: the same rules for the SDK, the HTTP API and the command line.

Postgres' text takes no NUL and UTF-8 no lone surrogates; JSON's numbers are finite. Tags have a module of their own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from robotgroups.errors import (
    ArgumentError,
    ContentTooLargeError,
    InvalidMetadataError,
    InvalidScopeError,
    InvalidTextError,
)

# One memory, in UTF-8. The full-text index takes at most 1 MiB of lexemes and positions: several bytes for each of a
# short word.
MAX_CONTENT_BYTES = 256 * 1024
MAX_METADATA_BYTES = 64 * 1024
MAX_METADATA_DEPTH = 32
MAX_QUERY_CHARACTERS = 4096
MAX_KEY_CHARACTERS = 255
MAX_RECALL = 1000
MAX_SCOPE_KEYS = 8
MAX_SCOPE_CHARACTERS = 256
SCOPE_KEY = r"[a-z][a-z0-9_.-]{0,62}"

# Python itself neither reads nor writes numbers of more than 4,300 digits.
MAX_NUMBER_BITS = 8192

# No value is shorter than two bytes of JSON, its comma counted: with more values the text is too large, too.
_MAX_VALUES = MAX_METADATA_BYTES // 2
_LONGEST_STEP, _LONGEST_SHOWN = 64, 200


def shown(value: object) -> str:
    """A value as an error's message shows it: its representation, cut when it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def check_text(value: str, name: str = "text") -> str:
    """Return ``value``; ``name`` is what the message calls it.

    Raises:
        InvalidTextError: it is no text, or holds a NUL character or a lone surrogate.

    """
    if not isinstance(value, str):
        raise InvalidTextError(f"{name} must be text, not {type(value).__name__}")
    if "\x00" in value:
        raise InvalidTextError(
            f"{name} holds a NUL character at character {value.index(chr(0))}, which cannot be stored: remove it"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidTextError(
            f"{name} holds a lone surrogate at character {error.start}: send whole characters"
        ) from None
    return value


def check_words(value: str, name: str = "text") -> str:
    """Return ``value``. InvalidTextError when it is blank, too, for ``check_text``'s reasons."""
    check_text(value, name)
    if not value.strip():
        raise InvalidTextError(f"{name} must not be blank")
    return value


def check_content(content: str) -> str:
    """Return a memory's content as it is.

    Raises:
        InvalidTextError: it is blank or cannot be stored.
        ContentTooLargeError: it has more than 256 KiB of UTF-8.

    """
    check_words(content, "content")
    size = len(content.encode())
    if size > MAX_CONTENT_BYTES:
        raise ContentTooLargeError(
            f"content has {size} bytes of UTF-8; a memory may have {MAX_CONTENT_BYTES}: split it"
        )
    return content


def check_query(query: str) -> str:
    """Return a query as it is. InvalidTextError when it is blank, longer than 4096 characters or cannot be stored."""
    check_words(query, "query")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidTextError(f"query has {len(query)} characters; at most {MAX_QUERY_CHARACTERS} are taken")
    return query


def check_key(key: str) -> str:
    """Return an idempotency key as it is. InvalidTextError unless it has 1 to 255 characters that can be stored."""
    check_text(key, "key")
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS:
        raise InvalidTextError(f"key must have 1 to {MAX_KEY_CHARACTERS} characters, not {len(key)}")
    return key


def check_limit(limit: int) -> int:
    """Return how many memories are asked for. ArgumentError when it is not in 1..1000."""
    if not 1 <= limit <= MAX_RECALL:
        raise ArgumentError(f"limit must be between 1 and {MAX_RECALL}, not {limit}")
    return limit


def check_metadata(metadata: Mapping[str, Any] | None, name: str = "metadata") -> dict[str, Any]:
    """Return metadata as a dict, an empty one for None.

    Raises:
        InvalidMetadataError: it is no JSON object, has a value that cannot be stored, is nested deeper than 32 levels
            or has more than 64 KiB of JSON. The message tells where.

    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidMetadataError(f"{name} must be a JSON object, not {type(metadata).__name__}")
    value = dict(metadata)
    check_json(value, name)
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > MAX_METADATA_BYTES:
        raise InvalidMetadataError(f"{name} is {size} bytes of JSON; at most {MAX_METADATA_BYTES} are taken")
    return value


def check_json(value: object, name: str = "metadata") -> None:
    """Check a value that is to be stored as JSON: dict, list, tuple, str, int, float, bool and None, all the way down.

    Raises:
        InvalidMetadataError: as ``check_metadata``, but its size.

    """
    for count, (place, depth, item) in enumerate(_walk(value, name)):
        if depth > MAX_METADATA_DEPTH:
            raise InvalidMetadataError(f"{name} is nested deeper than {MAX_METADATA_DEPTH} levels")
        if count > _MAX_VALUES:
            raise InvalidMetadataError(f"{name} holds too many values: at most {MAX_METADATA_BYTES} bytes are taken")
        _check_value(item, place)


def check_scope(scope: Mapping[str, str] | None) -> dict[str, str]:
    """Return a scope with its keys in order, an empty one for None: up to 8 keys of ``SCOPE_KEY``, 1..256 characters.

    Raises:
        InvalidScopeError: it is none. The message names the key.

    """
    if scope is None:
        return {}
    if not isinstance(scope, Mapping):
        raise InvalidScopeError(f"scope must be a mapping such as {{'user': 'u1'}}, not {type(scope).__name__}")
    if len(scope) > MAX_SCOPE_KEYS:
        raise InvalidScopeError(f"scope has {len(scope)} keys; at most {MAX_SCOPE_KEYS} are taken")
    for key, value in scope.items():
        if not isinstance(key, str) or not re.fullmatch(SCOPE_KEY, key):
            raise InvalidScopeError(
                f"scope's key {shown(key)} must begin with a-z and have at most 63 of a-z, 0-9, '_', '.' and '-'"
            )
        try:
            check_text(value, f"scope's {key!r}")
        except InvalidTextError as error:
            raise InvalidScopeError(str(error)) from None
        if not 1 <= len(value) <= MAX_SCOPE_CHARACTERS:
            raise InvalidScopeError(
                f"scope's {key!r} must have 1 to {MAX_SCOPE_CHARACTERS} characters, not {len(value)}"
            )
    return {key: scope[key] for key in sorted(scope)}


def check_time(value: datetime, name: str = "time") -> datetime:
    """Return a time in UTC, which is the zone of one that has none.

    Raises:
        ArgumentError: it is none, or not within the years 1 to 9999 in UTC: Postgres could keep it, Python not read it.

    """
    if not isinstance(value, datetime):
        raise ArgumentError(f"{name} must be a datetime, not {type(value).__name__}")
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        raise ArgumentError(f"{name} {value.isoformat()} must be within the years 1 to 9999 in UTC") from None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands; told only when something is wrong with it."""

    above: _Place | None
    step: str

    def __str__(self) -> str:
        steps: list[str] = []
        place: _Place | None = self
        while place is not None:
            steps.append(place.step if len(place.step) <= _LONGEST_STEP else place.step[:_LONGEST_STEP] + "…")
            place = place.above
        return "".join(reversed(steps)).encode(errors="backslashreplace").decode()


def _walk(value: object, name: str) -> Iterator[tuple[_Place, int, object]]:
    """(place, depth, value) of everything in a value, without recursion: what is nested too deep is to be refused."""
    stack: list[tuple[_Place, int, object]] = [(_Place(None, name), 1, value)]
    while stack:
        place, depth, item = stack.pop()
        yield place, depth, item
        if isinstance(item, dict):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise InvalidMetadataError(f"{place} has the key {key!r}: keys of JSON are text")
                below = _Place(place, f".{key}")
                stack += ((below, depth, key), (below, depth + 1, inner))
        elif isinstance(item, list | tuple):
            stack += ((_Place(place, f"[{index}]"), depth + 1, inner) for index, inner in enumerate(item))


def _check_value(item: object, place: _Place) -> None:
    if isinstance(item, str):
        try:
            check_text(item, "")
        except InvalidTextError as error:
            raise InvalidMetadataError(f"{place}{error}") from None
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise InvalidMetadataError(f"{place} holds a number that is not finite")
    elif isinstance(item, int):
        if item.bit_length() > MAX_NUMBER_BITS:
            raise InvalidMetadataError(f"{place} holds a number of more than {MAX_NUMBER_BITS} bits: send it as text")
    elif item is not None and not isinstance(item, dict | list | tuple):
        raise InvalidMetadataError(f"{place} is of type {type(item).__name__}, which is no JSON")
