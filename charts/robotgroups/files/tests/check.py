"""The check of `helm test`: is the database migrated, the operator up, the resource served? Exits 1 if not."""

import asyncio
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from robotgroups.errors import RobotGroupsError
from robotgroups.store import Store

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DSN_FILE = Path("/var/run/secrets/robotgroups-database/dsn")
LIMIT = 10  # seconds for each answer


async def schema_of(dsn: str) -> None:
    """Raises SchemaVersionError unless the database has the schema of this version."""
    store = await Store.open(dsn, max_size=1)
    try:
        await store.check_schema()
    finally:
        await store.close()


def database() -> str:
    """The operator's DSN reaches a database with the schema of this version."""
    asyncio.run(schema_of(DSN_FILE.read_text().strip()))
    return "the database answers and has the schema"


def operator() -> str:
    """The operator's metrics are served through its Service."""
    answer = httpx.get(os.environ["OPERATOR_METRICS"], timeout=LIMIT).raise_for_status()
    return f"the operator answers with {len(answer.text.splitlines())} lines of metrics"


def resource() -> str:
    """The API server serves RobotGroups, and the operator's account may list them."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    answer = httpx.get(
        f"{server}/apis/robotgroups.dev/v1alpha1/namespaces/{os.environ['NAMESPACE']}/robotgroups?limit=1",
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
        verify=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
        timeout=LIMIT,
    ).raise_for_status()
    return f"the API server serves {answer.json()['kind']}"


def passes(check: Callable[[], str]) -> bool:
    """Runs one check and says how it went."""
    try:
        sys.stdout.write(f"ok      {check()}\n")
    except (RobotGroupsError, httpx.HTTPError, OSError) as error:
        sys.stdout.write(f"FAILED  {check.__doc__} {type(error).__name__}: {error}\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(0 if all([passes(database), passes(operator), passes(resource)]) else 1)
