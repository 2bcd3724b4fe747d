"""The check of `helm test`: the database is migrated, the operator answers, the resource is served. Exits 1 with what is wrong."""

import asyncio
import json
import os
import ssl
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from robotgroups.errors import RobotGroupsError
from robotgroups.store import Store

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LIMIT = 10  # seconds for each answer


def database() -> str:
    """The operator's DSN reaches a server that has the schema of this version."""

    async def check() -> None:
        store = await Store.open(Path("/var/run/secrets/robotgroups-database/dsn").read_text().strip(), max_size=1)
        try:
            await store.check_schema()
        finally:
            await store.close()

    asyncio.run(check())
    return "the database answers and has the schema"


def operator() -> str:
    """The operator's metrics are served through its Service."""
    with urllib.request.urlopen(os.environ["OPERATOR_METRICS"], timeout=LIMIT) as answer:
        return f"the operator answers with {len(answer.read().splitlines())} lines of metrics"


def resource() -> str:
    """The API server serves RobotGroups, and the operator's account may list them."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    path = f"/apis/robotgroups.dev/v1alpha1/namespaces/{os.environ['NAMESPACE']}/robotgroups?limit=1"
    request = urllib.request.Request(
        f"https://{f'[{host}]' if ':' in host else host}:{port}{path}",
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
    )
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=LIMIT, context=trusted) as answer:
        return f"the API server serves {json.load(answer)['kind']}"


def passes(check: Callable[[], str]) -> bool:
    """Runs one check and says how it went."""
    try:
        print(f"ok      {check()}")
    except (RobotGroupsError, OSError) as error:
        print(f"FAILED  {check.__doc__} {type(error).__name__}: {error}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(0 if all([passes(database), passes(operator), passes(resource)]) else 1)
