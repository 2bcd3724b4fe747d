"""Where the SDK finds its Postgres: the argument, ROBOTGROUPS_DSN, or one that is embedded."""

from __future__ import annotations

import os

from robotgroups import embedded

VARIABLE = "ROBOTGROUPS_DSN"


def resolve_dsn(dsn: str | None) -> str:
    """Return the DSN to use; starts the embedded Postgres when none is given.

    Raises:
        MissingFeatureError: none is given, and the extra ``embedded`` is not installed.

    """
    return dsn or os.environ.get(VARIABLE) or embedded.start()
