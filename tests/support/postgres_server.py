"""A real PostgreSQL for tests: starts, stops, crashes and restarts one server in a directory of its own.

Where its programs come from: postgres_programs. fsync is on, as in production.
"""

import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import postgres_programs
import psycopg

OWNER = "robotgroups_owner"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class PostgresServer:
    """One server. `start` is to be called first; `dsn(database)` connects as superuser over TCP on the loopback."""

    version: int
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rg-pg-")))
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self._programs = postgres_programs.provide(self.version, self.directory)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """The connection string of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def initdb(self) -> None:
        """Makes the data directory and settles what tests need."""
        # Nothing was acknowledged yet that a crash of the machine could take away.
        options = ("--no-sync", "--auth=trust", "--encoding=utf8", "-U", "postgres")
        self._programs.run("initdb", *options, "-D", str(self.data))
        settings = f"listen_addresses='127.0.0.1'\nport={self.port}\nunix_socket_directories='{self.directory}'\n"
        settings += "max_connections=200\nshared_buffers=32MB\n"
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(settings)

        # groups' logins prove who they are; everybody else is the test itself
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"host all /^rg_[0-9] 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        if not self.data.exists():
            self.initdb()
        try:
            self._programs.run("pg_ctl", "-w", "-t", "60", "-l", str(self.log), "-D", str(self.data), "start")
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"Postgres did not start:\n{self.log.read_text()}") from error

    def stop(self, mode: str = "fast") -> None:
        """Stops it: `fast` ends the sessions and shuts down, `immediate` is a crash."""
        self._programs.run("pg_ctl", "-w", "-t", "60", "-m", mode, "-D", str(self.data), "stop")

    def destroy(self) -> None:
        """Stops the server, if it runs, and removes everything it made."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.directory.resolve())
        self.directory.unlink(missing_ok=True)  # what is left where it led into a tree of programs

    def create_owner(self) -> None:
        """The owner login as the chart makes it: no superuser. Databases made from now on have pgvector: it may not."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            rights = "LOGIN CREATEROLE CREATEDB IN ROLE pg_signal_backend, pg_read_all_stats"
            connection.execute(f"CREATE ROLE {OWNER} {rights}")
        with psycopg.connect(self.dsn("template1"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")

    def standby(self) -> "PostgresServer":
        """A server of its own that follows this one from where it is now; `start` it."""
        follower = PostgresServer(self.version)
        follower.copy_of(self.port)
        return follower

    def copy_of(self, port: int) -> None:
        """Takes a base backup of the server at a port, to follow it as a streaming standby."""
        primary = ("-h", "127.0.0.1", "-p", str(port), "-U", "postgres")
        options = (
            "-D",
            str(self.data),
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
            "--no-sync",
        )
        self._programs.run("pg_basebackup", *primary, *options)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"port={self.port}\nunix_socket_directories='{self.directory}'\n")

    def promote(self) -> None:
        """Makes a standby the primary, and waits until it takes writes."""
        self._programs.run("pg_ctl", "-w", "-t", "60", "-D", str(self.data), "promote")
