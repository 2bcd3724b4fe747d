"""What Postgres and the robots hold when nobody writes any more, read for the checker."""

import time
from collections.abc import Callable
from typing import Any

from demo.kube import wait_until
from tests.chaos.ground import Ground, ask
from tests.chaos.tables import CacheDump, ChangeRow, FailoverRow, MemoryRow, Tables

PAGE = 20_000
SETTLE_S, STILL_S = 60, 2.0


def revision(ground: Ground) -> int:
    """The group's revision in Postgres."""
    return int(_group(ground)["revision"])


def wait_still(ground: Ground, settled: Callable[[], bool]) -> int:
    """Waits until the workload's last tries have ended and the revision stands still; that revision."""
    seen: list[tuple[int, float]] = []

    def still() -> int | None:
        now, at = revision(ground), time.monotonic()
        if not seen or seen[-1][0] != now or not settled():
            seen.append((now, at))
        return now if at - seen[-1][1] > STILL_S else None

    return wait_until("nothing is written any more", SETTLE_S, still, every=0.3)


def collect(ground: Ground, token: str) -> Tables:
    """All of it."""
    group = _group(ground)
    held = ground.rows("SELECT memory_id FROM robotgroups.working_memory WHERE group_id = %s", ground.group_id)
    return Tables(
        **group,
        active_target=ground.active,
        memories=tuple(_memories(ground)),
        failovers=tuple(_failovers(ground)),
        changes=tuple(_changes(ground, group["pruned_to"])),
        working_set=frozenset(row["memory_id"] for row in held),
        caches=_caches(ground, token, group["revision"]),
    )


def _group(ground: Ground) -> dict[str, Any]:
    query = "SELECT epoch, revision, pruned_to FROM robotgroups.groups WHERE id = %s"
    return ground.rows(query, ground.group_id)[0]


def _memories(ground: Ground) -> list[MemoryRow]:
    query = "SELECT id, content, remember_count FROM robotgroups.memories WHERE group_id = %s ORDER BY id"
    return [MemoryRow(**row) for row in ground.rows(query, ground.group_id)]


def _failovers(ground: Ground) -> list[FailoverRow]:
    promoted = "extract(epoch FROM promoted_at)::double precision AS promoted_at"
    query = f"SELECT kind, source, target, epoch, revision, {promoted}, reason, detected_by FROM robotgroups.failovers"
    return [FailoverRow(**row) for row in ground.rows(f"{query} WHERE group_id = %s ORDER BY id", ground.group_id)]


def _changes(ground: Ground, pruned_to: int) -> list[ChangeRow]:
    rows: list[ChangeRow] = []
    last = pruned_to
    query = "SELECT revision, kind, epoch, memory_id AS memory FROM robotgroups.changes_after(%s, %s, %s)"
    while page := ground.rows(f"{query} ORDER BY revision", ground.group_id, last, PAGE):
        rows += [ChangeRow(**row) for row in page]
        last = rows[-1].revision
    return rows


def _caches(ground: Ground, token: str, wanted: int) -> dict[str, CacheDump]:
    """Every robot's cache; one that does not come to the group's revision in time is given as it is."""
    found: dict[str, CacheDump] = {}
    end = time.monotonic() + SETTLE_S
    for pod in ground.pods():
        robot = pod["metadata"]["labels"]["robotgroups.dev/robot"]
        found[robot] = CacheDump(-1, frozenset())
        while found[robot].revision != wanted and time.monotonic() < end:
            _code, held = ask(f"http://{pod['status'].get('podIP')}:8080/v1/working-memory", token)
            if isinstance(held, dict) and "memories" in held:
                found[robot] = CacheDump(held["revision"], frozenset(m["id"] for m in held["memories"]))
    return found
