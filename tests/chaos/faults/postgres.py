"""Postgres: killed, restarted, away, its sessions ended, its slots taken. No robot has failed by any of it."""

import signal
from contextlib import suppress
from typing import Any

import psycopg
from typing_extensions import override

from demo import release
from localcluster.console import ClusterError
from localcluster.processes import Process, children, command_line
from tests.chaos.faults.base import Effect, Fault
from tests.chaos.ground import POSTGRES_SET

CONTAINER = "postgres"
LOG_FILES = 128  # more than max_wal_size lets it keep


class PostgresKilled(Fault):
    """SIGKILL to the postmaster: every session ends at once, the container is restarted."""

    kind = "Postgres SIGKILL"
    weight = 1.5

    @override
    def aim(self) -> Effect:
        return Effect("the postmaster")

    @override
    def inject(self) -> None:
        self.ground.main_process(self.ground.postgres_pod(), CONTAINER).send(signal.SIGKILL)


class BackendKilled(Fault):
    """SIGKILL to one of Postgres' processes: it ends all the others and recovers, in the same container."""

    kind = "Postgres' backend SIGKILL"
    weight = 1.5

    @override
    def aim(self) -> Effect:
        return Effect("a client's backend")

    @override
    def inject(self) -> None:
        postmaster = self.ground.main_process(self.ground.postgres_pod(), CONTAINER)
        backends = [pid for pid in sorted(children(postmaster.pid)) if _serves_a_client(pid)]
        if not backends:
            raise ClusterError("Postgres serves nobody")
        Process.of(backends[int(self.choice.which * (len(backends) - 1))]).send(signal.SIGKILL)


class PostgresRestarted(Fault):
    """Its pod is deleted: a fast shutdown, then another pod on the same volume."""

    kind = "Postgres restarted"
    weight = 1.0

    @override
    def aim(self) -> Effect:
        return Effect("its pod deleted")

    @override
    def inject(self) -> None:
        pod = self.ground.postgres_pod()["metadata"]["name"]
        self.ground.group.kube.kubectl("-n", release.NAMESPACE, "delete", "pod", pod, "--wait=false")


class PostgresAway(Fault):
    """Postgres is scaled away for ten seconds: longer than a lease, and nobody has failed."""

    kind = "Postgres 10 s away"
    slow = True

    @property
    @override
    def hold_s(self) -> float:
        return 10.0

    @override
    def aim(self) -> Effect:
        return Effect("its StatefulSet scaled to 0")

    @override
    def inject(self) -> None:
        self.ground.group.kube.patch(POSTGRES_SET, {"spec": {"replicas": 0}})

    @override
    def heal(self) -> None:
        self.ground.group.kube.patch(POSTGRES_SET, {"spec": {"replicas": 1}})


class SessionsEnded(Fault):
    """pg_terminate_backend of any session, or of several: a robot's presence, its writer, the operator's listener."""

    kind = "pg_terminate_backend"
    weight = 3.0

    @override
    def aim(self) -> Effect:
        self._count = 1 + int(self.choice.size * 4)
        return Effect(f"{self._count} sessions")

    @override
    def inject(self) -> None:
        # in an order that the plan has chosen
        self.ground.database.rows(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname = 'robotgroups' "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY md5(pid::text || %s) LIMIT %s) x",
            str(self.choice.which),
            self._count,
        )


class SlotsExhausted(Fault):
    """Every connection that Postgres grants is taken; and a session is ended, which cannot come back meanwhile."""

    kind = "connection slots exhausted"
    weight = 0.7

    @property
    @override
    def hold_s(self) -> float:
        return self.between(1.0, 2.0)  # within the lease: nobody has failed

    @override
    def aim(self) -> Effect:
        self._taken: list[psycopg.Connection[Any]] = []
        return Effect(f"for {self.hold_s:.1f} s")

    @override
    def inject(self) -> None:
        try:
            while True:
                self._taken.append(self.ground.database.connect())
        except psycopg.OperationalError as error:
            if "slots are reserved" not in str(error) and "too many clients" not in str(error):
                raise ClusterError(f"after {len(self._taken)} connections: {error}") from error

    @override
    def heal(self) -> None:
        taken, self._taken = self._taken, []
        for connection in taken:
            with suppress(psycopg.Error):  # Postgres may have ended it
                connection.close()


class DiskFull(Fault):
    """The file system of Postgres' data is filled to the last byte: the log cannot be written, Postgres panics."""

    kind = "disk full under Postgres' log"
    slow = True
    limit_s = 180.0

    @property
    @override
    def hold_s(self) -> float:
        return self.between(5.0, 8.0)

    @override
    def aim(self) -> Effect:
        return Effect(f"for {self.hold_s:.1f} s")

    @override
    def inject(self) -> None:
        self.ground.small_volume().fill()
        self._use_up_the_log()

    def _use_up_the_log(self) -> None:
        """Postgres keeps files of its log for later: switching to the next one uses them up, until there is no room."""
        switch = "PERFORM pg_logical_emit_message(false, 'chaos', 'x'), pg_switch_wal()"
        with suppress(ClusterError):  # the panic ends this session as well
            self.ground.psql(f"DO $$ BEGIN FOR i IN 1..{LOG_FILES} LOOP {switch}; END LOOP; END $$")

    @override
    def heal(self) -> None:
        self.ground.small_volume().drain()


def _serves_a_client(pid: int) -> bool:
    title = " ".join(command_line(pid))
    return title.startswith("postgres: robotgroups_") and " robotgroups " in title
