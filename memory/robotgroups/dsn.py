"""Where the SDK finds its Postgres: the argument, ROBOTGROUPS_DSN, or one that is embedded."""

from __future__ import annotations

import os

import psycopg
from psycopg.conninfo import conninfo_to_dict

from robotgroups import embedded

VARIABLE = "ROBOTGROUPS_DSN"


def resolve_dsn(dsn: str | None) -> str:
    """Return the DSN to use; starts the embedded Postgres when none is given.

    Raises:
        MissingFeatureError: none is given, and the extra ``embedded`` is not installed.

    """
    return dsn or os.environ.get(VARIABLE) or embedded.start()


def place_of(dsn: str) -> str:
    """Where a DSN leads, for people: host, port and database, without user and password."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "Postgres"
    host = str(parts.get("host") or "localhost")
    return f"{host}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}".rstrip("/")
