"""Tokens that are limited to one scope: made from the group's token, known to robots without being stored anywhere.

Such a token is a JWT (HS256) under a key derived from the group's token: it ends when that one is replaced, and there
is no other way to take it back before it expires. Who has it can try guesses of the group's token on it at leisure:
none is made from a short one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import jwt

from robotgroups.errors import ArgumentError, InvalidScopeError, NotPermittedError
from robotgroups.limits import check_scope

# A token of random letters and digits has more than 90 bits from here on; the operator makes such of 256.
MIN_GROUP_TOKEN_CHARACTERS = 16
ALGORITHM = "HS256"
AUDIENCE = "robotgroups"
SCOPE_CLAIM = "robotgroups_scope"
_PURPOSE = b"robotgroups scoped token, version 1"
_KEPT = 1024


def scoped_token(group_token: str, scope: Mapping[str, str], expires_at: datetime | None = None) -> str:
    """A token that reaches only the memories that belong to ``scope``, until ``expires_at`` (None: without end).

    A time without a zone is UTC; the token ends with the second that ``expires_at`` is in. No network is used.

    Raises:
        InvalidScopeError: the scope is none, or empty.
        ArgumentError: the group's token has fewer than 16 characters.

    """
    if len(group_token) < MIN_GROUP_TOKEN_CHARACTERS:
        raise ArgumentError(
            f"the group's token must have at least {MIN_GROUP_TOKEN_CHARACTERS} random characters: whoever has a "
            "scoped token could guess a shorter one"
        )
    limited = check_scope(scope)
    if not limited:
        raise InvalidScopeError("scope must not be empty: everything belongs to the empty scope")
    claims: dict[str, Any] = {"aud": AUDIENCE, SCOPE_CLAIM: limited}
    if expires_at is not None:
        claims["exp"] = int((expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC)).timestamp())
    return jwt.encode(claims, _key(group_token), ALGORITHM)


class ScopedTokens:
    """Reads the scoped tokens of one group."""

    def __init__(self, group_token: str) -> None:
        self._read = None
        if len(group_token) >= MIN_GROUP_TOKEN_CHARACTERS:
            self._read = lru_cache(_KEPT)(_Reader(_key(group_token)))  # what is no token raises, and is not kept

    def scope_of(self, token: str, now: datetime) -> dict[str, str]:
        """The scope that a token is limited to.

        Raises:
            NotPermittedError: it is none of this group's, or has expired at ``now``. The message tells nothing of it.

        """
        if self._read is None:
            raise NotPermittedError("the token is not valid")
        try:
            scope, expires = self._read(token)
        except (jwt.InvalidTokenError, InvalidScopeError, UnicodeError) as error:
            raise NotPermittedError("the token is not valid") from error
        if expires is not None and now.timestamp() >= expires:
            raise NotPermittedError("the token has expired")
        return dict(scope)


class _Reader:
    """Checks a token's signature and form, not its time."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, token: str) -> tuple[dict[str, str], int | None]:
        options: Any = {"require": ["aud", SCOPE_CLAIM], "verify_exp": False}
        claims = jwt.decode(token, self._key, [ALGORITHM], options, audience=AUDIENCE)
        scope, expires = check_scope(claims[SCOPE_CLAIM]), claims.get("exp")
        if not scope or not (expires is None or type(expires) is int):
            raise jwt.InvalidTokenError("it is not of our making")
        return scope, expires


def _key(group_token: str) -> bytes:
    return hmac.digest(group_token.encode(), _PURPOSE, "sha256")
