"""Postgres of the release, asked from this machine as the operator's login, over a connection for each question."""

import base64
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from demo import release
from demo.kube import Kube
from localcluster.console import ClusterError

NAME = f"{release.NAME}-postgres"
CONNECT_S, AGAIN_S = 3, 0.3


@dataclass(frozen=True)
class Database:
    """`address` is the Service's: it stays."""

    address: str
    password: str

    @classmethod
    def of(cls, kube: Kube) -> "Database":
        """The embedded Postgres of the release; ClusterError when there is none."""
        found = [kube.get(f"/api/v1/namespaces/{release.NAMESPACE}/{kind}/{NAME}") for kind in ("services", "secrets")]
        service, secret = found
        if service is None or secret is None:
            raise ClusterError("the release has no embedded Postgres")
        return cls(service["spec"]["clusterIP"], base64.b64decode(secret["data"]["password"]).decode())

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """A connection in autocommit. psycopg.OperationalError when there is none to be had."""
        return psycopg.connect(
            host=self.address,
            user="robotgroups_operator",
            password=self.password,
            dbname="robotgroups",
            connect_timeout=CONNECT_S,
            autocommit=True,
            row_factory=dict_row,
        )

    def rows(self, query: str, *values: object, patience_s: float = 0.0) -> list[dict[str, Any]]:
        """The rows of a query; while Postgres is away, it is tried for so many seconds. ClusterError then."""
        end = time.monotonic() + patience_s
        while True:
            try:
                with self.connect() as connection:
                    return connection.execute(query, values).fetchall()
            except psycopg.OperationalError as error:
                if time.monotonic() > end:
                    raise ClusterError(f"Postgres does not answer: {error}") from error
            time.sleep(AGAIN_S)
