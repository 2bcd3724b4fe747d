"""Tells people of a group: Kubernetes Events from the change feed, and the status of the resource."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from robotgroups.errors import PrunedError
from robotgroups.models import GroupStatus, Role
from robotgroups_operator.api import ApiError, ConflictError, KubernetesApi, NotFoundError
from robotgroups_operator.cache import GroupRef
from robotgroups_operator.database import Database
from robotgroups_operator.journal import Journal, Notice, read_changes
from robotgroups_operator.metrics import EPOCH, FAILOVERS, PHASE, WRITES
from robotgroups_operator.names import MANAGER, Kind
from robotgroups_operator.observation import Observation
from robotgroups_operator.status import compute_status
from robotgroups_operator.status_types import Phase, SyncStats, merge_patch, timestamp

log = structlog.get_logger(__name__)

JsonObject = dict[str, Any]
PAGE = 1000


def start_journal(status: Mapping[str, Any], memory: GroupStatus) -> Journal:
    """Where to begin to read: after what the resource's status tells already; for a new resource, at the present."""
    if "revision" not in status or status["revision"] > memory.revision:
        fresh = memory.revision if memory.working_memory_nodes or memory.failovers else 0
        return Journal(fresh, None if fresh else {})
    stats = status.get("syncStats") or {}
    roles = {name: str(role) for role in Role for name in status.get(str(role)) or ()}
    return Journal(status["revision"], roles, stats.get("nodesSynced", 0), stats.get("evictionsSynced", 0))


class Reporter:
    """Of one group."""

    def __init__(self, api: KubernetesApi, database: Database, ref: GroupRef) -> None:
        self._api = api
        self._database = database
        self._ref = ref
        self._journal: Journal | None = None
        self._group_id: int | None = None
        self._received_before = 0

    async def read_feed(self, body: JsonObject, group_id: int, memory: GroupStatus) -> None:
        """Reads the changes that are new and posts Events for those of roles. Raises RobotGroupsError, ApiError."""
        if self._journal is None or self._group_id != group_id:
            status = body.get("status") or {}
            self._journal, self._group_id = start_journal(status, memory), group_id
            self._received_before = (status.get("syncStats") or {}).get("notificationsReceived", 0)
        while self._journal.revision < memory.revision:
            try:
                changes = await self._database.store.changes(group_id, self._journal.revision, PAGE)
            except PrunedError as error:  # another Postgres server took over, or this operator was away for long
                log.warning("changes are gone untold", group=str(self._ref), up_to=error.pruned_to)
                self._journal = replace(self._journal, revision=error.pruned_to)
                continue
            if not changes:
                break
            journal, notices = read_changes(self._journal, changes)
            for notice in notices:
                await self._post(body, notice)
            self._journal = journal

    def sync(self, body: Mapping[str, Any], group_id: int | None) -> SyncStats | None:
        """What was synchronised, as far as the feed was read; never less than the status tells already."""
        if self._journal is None or group_id is None:
            return None
        told = ((body.get("status") or {}).get("syncStats") or {}).get("notificationsReceived", 0)
        # another operator may have heard more: two that corrected each other would never end
        received = max(told, self._received_before + self._database.received(group_id))
        return SyncStats(self._journal.nodes_synced, self._journal.evictions_synced, received)

    async def write(self, body: JsonObject, seen: Observation) -> JsonObject | None:
        """Writes the status if it differs; returns the resource as written, None when there was nothing to write."""
        status = compute_status(seen)
        self._measure(status)
        patch = merge_patch(body.get("status") or {}, status)
        if not patch:
            return None
        try:
            written = await self._api.patch(
                Kind.ROBOT_GROUP, self._ref.namespace, self._ref.name, {"status": patch}, subresource="status"
            )
        except NotFoundError:
            return None
        WRITES.labels(kind="RobotGroup", verb="status").inc()
        if "phase" in patch:
            log.info("phase changed", group=str(self._ref), phase=patch["phase"])
        return written

    def _measure(self, status: JsonObject) -> None:
        where = (self._ref.namespace, self._ref.name)
        for phase in Phase:
            PHASE.labels(*where, str(phase)).set(status["phase"] == phase)
        EPOCH.labels(*where).set(status.get("epoch", 0))
        FAILOVERS.labels(*where).set(status.get("failovers", 0))

    def forget(self) -> None:
        """The group is gone: its figures go too."""
        where = (self._ref.namespace, self._ref.name)
        for phase in Phase:
            PHASE.remove(*where, str(phase))
        EPOCH.remove(*where)
        FAILOVERS.remove(*where)

    async def note_switchover(self, value: str | None) -> JsonObject:
        """Writes what the annotation asked for that is done with, at once; returns the resource as written."""
        patch = {"status": {"observedSwitchover": value}}
        WRITES.labels(kind="RobotGroup", verb="status").inc()
        return await self._api.patch(Kind.ROBOT_GROUP, self._ref.namespace, self._ref.name, patch, subresource="status")

    async def tell(self, body: JsonObject, key: str, reason: str, message: str, *, warning: bool = False) -> None:
        """Posts an Event that is not of the feed; `key` names it."""
        await self._post_event(body, key, reason, message, warning=warning)

    async def _post(self, body: JsonObject, notice: Notice) -> None:
        key = f"{notice.revision}-{notice.index}"
        await self._post_event(body, key, notice.reason, notice.message, warning=notice.warning)

    async def _post_event(self, body: JsonObject, key: str, reason: str, message: str, *, warning: bool) -> None:
        """One Event, under a name of its own: two operators, or one that was interrupted, make it once."""
        metadata = body["metadata"]
        event = {
            "apiVersion": Kind.EVENT.value.api_version,
            "kind": Kind.EVENT.value.kind,
            "metadata": {
                "name": f"{metadata['name']}.{metadata['uid'][:8]}-{key}",
                "namespace": metadata["namespace"],
            },
            "eventTime": timestamp(datetime.now(UTC), micro=True),
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "note": message[:1024],
            "action": reason,
            "reportingController": f"robotgroups.dev/{MANAGER}",
            "reportingInstance": MANAGER,
            "regarding": {
                "apiVersion": Kind.ROBOT_GROUP.value.api_version,
                "kind": Kind.ROBOT_GROUP.value.kind,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        }
        try:
            await self._api.create(Kind.EVENT, event)
            log.info("event", group=str(self._ref), reason=reason, message=message)
        except ConflictError:
            log.debug("event was posted already", group=str(self._ref), key=key)
        except ApiError as error:
            if error.namespace_terminating:
                return
            # an Event is a courtesy: it must not keep the group from being looked after
            log.warning("event not posted", group=str(self._ref), reason=reason, error=str(error))
