"""What a request may hold. Postgres' text takes no NUL and UTF-8 no lone surrogates: both are refused here, by name."""

import math
from collections.abc import Iterator

# The whole body, before it is parsed.
MAX_BODY_BYTES = 1024 * 1024
# One memory. The full-text index takes at most 1 MiB of lexemes and positions: several bytes for each of a short word.
MAX_CONTENT_BYTES = 256 * 1024
MAX_TAGS = 64
MAX_TAG_CHARACTERS = 200
MAX_METADATA_BYTES = 64 * 1024
MAX_METADATA_DEPTH = 32
MAX_QUERY_CHARACTERS = 4096
MAX_KEY_CHARACTERS = 255
MAX_RECALL = 1000


def check_text(value: str) -> str:
    """Return `value`, or raise ValueError when Postgres cannot hold it."""
    if "\x00" in value:
        raise ValueError("holds a NUL character, which cannot be stored: remove it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds a lone surrogate at character {error.start}: send whole characters") from error
    return value


def check_json(value: object) -> None:
    """Raise ValueError when `value`, as json.loads made it, cannot be stored: its text, its numbers or its depth."""
    for depth, item in _walk(value, 1):
        if depth > MAX_METADATA_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_METADATA_DEPTH} levels")
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError("holds a number that is not finite")


def _walk(value: object, depth: int) -> Iterator[tuple[int, object]]:
    stack = [(depth, value)]
    while stack:
        level, item = stack.pop()
        yield level, item
        if isinstance(item, dict):
            for key, inner in item.items():
                stack += ((level, key), (level + 1, inner))
        elif isinstance(item, list):
            stack += ((level + 1, inner) for inner in item)
