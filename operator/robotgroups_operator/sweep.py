"""Finds rows of groups whose resource is gone, and says what their retention asks for. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from robotgroups.models import GroupRecord, Retention


class SweepAction(StrEnum):
    """What is done with a group's rows."""

    DELETE = "delete"
    RETIRE = "retire"
    """Its memories stay for a successor; its login goes."""


@dataclass(frozen=True)
class Sweep:
    """One group to be swept."""

    record: GroupRecord
    action: SweepAction
    reason: str


def plan_sweep(
    records: Iterable[GroupRecord], living_uids: Collection[str], served_namespaces: Collection[str] | None
) -> list[Sweep]:
    """What to do with the rows of this cluster.

    `living_uids` are the UIDs of all RobotGroups that exist, listed completely and after the records were read: what
    was recorded before and is not in that list is gone. `served_namespaces` are the UIDs of the namespaces that were
    listed; None means all. A record without a resource is not the operator's (an administrator made it), and stays.
    """
    sweeps = []
    for record in records:
        if not record.resource_uid or record.resource_uid in living_uids:
            continue
        if served_namespaces is not None and record.key.namespace_uid not in served_namespaces:
            continue
        if record.retention is Retention.DELETE:
            sweeps.append(Sweep(record, SweepAction.DELETE, "its resource is gone and memory.retention is Delete"))
        elif record.login is not None:
            sweeps.append(Sweep(record, SweepAction.RETIRE, "its resource is gone and memory.retention is Retain"))
    return sweeps
