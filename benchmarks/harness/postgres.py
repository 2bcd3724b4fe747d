"""The server that a run measures on: PostgreSQL 18 out of the wheel, in a directory of its own, removed at the end.

fsync and synchronous_commit are on, as they come. ``SETTINGS`` is what the chart's Postgres has, with more
connections (a hundred robots stand in one process here); all else is default.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import psycopg
from postgres_server import OWNER, PostgresServer
from psycopg import conninfo, sql

VERSION = 18
SETTINGS = {"max_connections": "600", "shared_buffers": "128MB", "max_wal_size": "1GB", "jit": "off"}
SHOWN = ("server_version", "fsync", "synchronous_commit", "wal_sync_method", *SETTINGS)


@dataclass(frozen=True)
class Server:
    """A running server; each contender gets a database of its own."""

    running: PostgresServer

    def database(self, name: str) -> str:
        """Makes an empty database, anew if there is one; returns its owner's connection string."""
        with psycopg.connect(self.running.dsn(), autocommit=True) as connection:
            identifier = sql.Identifier(name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, sql.Identifier(OWNER)))
        with psycopg.connect(self.running.dsn(name), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        return self.running.dsn(name, OWNER)

    def drop(self, name: str) -> None:
        """Removes a database, and who is connected to it."""
        with psycopg.connect(self.running.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def superuser(self, dsn: str) -> str:
        """A superuser's connection string of the same database."""
        return conninfo.make_conninfo(dsn, user="postgres")

    def settings(self) -> dict[str, str]:
        """What the server says of itself."""
        with psycopg.connect(self.running.dsn()) as connection:
            rows = connection.execute("SELECT name, current_setting(name) FROM unnest(%s::text[]) name", (list(SHOWN),))
            return dict(rows.fetchall())


@contextmanager
def server(**settings: str) -> Iterator[Server]:
    """Starts the server; it is stopped and removed at the end, after Ctrl-C and SIGTERM too.

    ``settings`` override ``SETTINGS``.
    """
    signal.signal(signal.SIGTERM, _terminated)
    # asyncio turns Ctrl-C into a cancellation, which before Python 3.12 what psycopg waits by can swallow
    signal.signal(signal.SIGINT, _interrupted)
    running = PostgresServer(VERSION)
    try:
        running.initdb()
        with (running.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name}={value}\n" for name, value in (SETTINGS | settings).items())
        running.start()
        running.create_owner()
        yield Server(running)
    finally:
        running.destroy()


def _interrupted(_number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
