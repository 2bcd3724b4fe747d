"""Tells Postgres what a group is declared to be, when that has changed."""

from dataclasses import dataclass

import structlog

from robotgroups.models import GroupKey, GroupSettings, GroupStatus, Retention
from robotgroups.store import Store
from robotgroups_operator.manifests.identity import Group

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Declaration:
    """All that Postgres is told of a group."""

    key: GroupKey
    settings: GroupSettings
    active: tuple[str, ...]
    passive: tuple[str, ...]


def declaration(group: Group) -> Declaration:
    """What the resource declares."""
    identity, spec = group.identity, group.spec
    return Declaration(
        GroupKey(identity.cluster, identity.namespace_uid, identity.name),
        spec.settings(identity.uid),
        tuple(robot.name for robot in spec.active_robots),
        tuple(robot.name for robot in spec.passive),
    )


def is_declared(status: GroupStatus, declared: Declaration) -> bool:
    """Whether Postgres has these members in this order, this many active places, and this suspension and budget."""
    members = tuple(robot.name for robot in sorted(status.robots, key=lambda robot: robot.ordinal))
    settings = declared.settings
    return (members, status.active_target, status.suspended, status.max_tokens) == (
        declared.active + declared.passive,
        len(declared.active),
        settings.suspended,
        settings.max_tokens,
    )


async def delete_predecessor(store: Store, declared: Declaration) -> None:
    """Deletes the rows of a deleted group of this name whose retention was Delete: they are not inherited."""
    for record in await store.list_groups(declared.key.cluster):
        another = record.resource_uid not in ("", declared.settings.resource_uid)
        if record.key == declared.key and another and record.retention is Retention.DELETE:
            log.info("predecessor's rows deleted", group=declared.key.name, id=record.id)
            await store.delete_group(record.id)


async def declare(store: Store, declared: Declaration) -> int:
    """Makes or updates the group and its members; returns its id."""
    group_id = await store.ensure_group(declared.key, declared.settings)
    change = await store.reconcile_members(group_id, declared.active, declared.passive)
    if change.joined or change.left or change.moved:
        log.info(
            "members reconciled",
            group=declared.key.name,
            joined=change.joined,
            left=change.left,
            moved=change.moved,
        )
    return group_id
