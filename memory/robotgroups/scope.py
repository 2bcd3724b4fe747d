"""Scopes: whom or what memories belong to. No I/O.

A memory belongs to a scope when its own has all of it: ``{"user": "u1", "conversation": "c7"}`` belongs to
``{"user": "u1"}``, and everything to the empty one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from robotgroups.errors import NotPermittedError
from robotgroups.limits import check_scope, shown
from robotgroups.memories import Memory


def belongs(scope: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a memory of ``scope`` belongs to ``wanted``."""
    return all(scope.get(key) == value for key, value in wanted.items())


def visible(memories: Iterable[Memory], now: datetime, wanted: Mapping[str, str] | None = None) -> list[Memory]:
    """The memories that belong to ``wanted`` and have not expired at ``now``."""
    return [
        m for m in memories if (m.expires_at is None or m.expires_at > now) and (not wanted or belongs(m.scope, wanted))
    ]


def within(own: Mapping[str, str], asked: Mapping[str, str] | None) -> dict[str, str]:
    """The scope of a request by somebody who is limited to ``own``: what is asked for, ``own`` when that is nothing.

    Raises:
        NotPermittedError: it is not within ``own``.
        InvalidScopeError.

    """
    wanted = check_scope(asked)
    if not wanted:
        return dict(own)
    if not belongs(wanted, own):
        raise NotPermittedError(
            f"the token is limited to the scope {shown(dict(own))}: leave scope out, or give one that has all of it"
        )
    return wanted
