"""One group's standing in Postgres: declared when the declaration has changed, asked for at each look."""

from dataclasses import dataclass

import structlog

from robotgroups.errors import ArgumentError, UnknownGroupError
from robotgroups.models import GroupKey, GroupSettings, GroupStatus, Retention
from robotgroups.store import Store
from robotgroups_operator.database import Database
from robotgroups_operator.group_settings import SETTINGS_REFUSED, group_settings
from robotgroups_operator.manifests.identity import Group
from robotgroups_operator.observation import Problem

log = structlog.get_logger(__name__)

REFUSABLE = ("space", "max_tokens", "language")
"""Settings that Postgres may refuse, depending on what it holds."""
REFUSED_RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Declaration:
    """All that Postgres is told of a group."""

    key: GroupKey
    settings: GroupSettings
    active: tuple[str, ...]
    passive: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    """What of the resource cannot be told."""


def declaration(group: Group) -> Declaration:
    """What the resource declares."""
    identity, spec = group.identity, group.spec
    told = group_settings(spec, identity.uid)
    return Declaration(
        GroupKey(identity.cluster, identity.namespace_uid, identity.name),
        told.settings,
        tuple(robot.name for robot in spec.active_robots),
        tuple(robot.name for robot in spec.passive),
        told.problems,
    )


def is_declared(status: GroupStatus, declared: Declaration, *, refused: bool = False) -> bool:
    """Whether Postgres has these members in this order, this many active places, this suspension, and this budget.

    The budget does not count when settings were `refused`.
    """
    members = tuple(robot.name for robot in sorted(status.robots, key=lambda robot: robot.ordinal))
    settings = declared.settings
    return (members, status.active_target, status.suspended) == (
        declared.active + declared.passive,
        len(declared.active),
        settings.suspended,
    ) and (refused or status.max_tokens == settings.max_tokens)


class Membership:
    """Of one group."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: Declaration | None = None
        self._told_at = 0.0
        self._refused: Problem | None = None
        self.group_id: int | None = None
        self.problems: tuple[Problem, ...] = ()
        """Settings that were not taken over, each with what to do."""
        self.news = False
        """Whether something new was told at the last look."""
        self.settled = False
        """Whether Postgres knew the members and the suspension at the last look."""

    def doubt(self) -> None:
        """Tells everything again at the next look."""
        self._told = None

    def close(self) -> None:
        """The group is somebody else's business now."""
        if self.group_id is not None:
            self._database.forget(self.group_id)

    async def ask(self, group: Group, now: float) -> GroupStatus:
        """How the group is, after telling what is declared if that has changed. Raises RobotGroupsError.

        `now` is of a monotonic clock, in seconds.
        """
        declared, store = declaration(group), self._database.store
        if self.group_id is None:
            await _delete_predecessor(store, declared)
        self.news = self.group_id is None or declared != self._told
        if self.news or (self._refused is not None and now - self._told_at >= REFUSED_RETRY_SECONDS):
            await self._declare(store, declared)
            self._told, self._told_at = declared, now
        assert self.group_id is not None
        status = await store.status(self.group_id)
        self.settled = is_declared(status, declared, refused=self._refused is not None)
        if not self.settled:
            self._told = None
        return status

    async def _declare(self, store: Store, declared: Declaration) -> None:
        before, self._refused = self._refused, None
        try:
            group_id = await store.ensure_group(declared.key, declared.settings)
        except ArgumentError as error:
            group_id = await _tell_the_rest(store, declared, error)
            self._refused = Problem(SETTINGS_REFUSED, str(error))
            if self._refused != before:
                log.warning("settings refused", group=declared.key.name, error=str(error))
        self.problems = declared.problems + ((self._refused,) if self._refused else ())
        change = await store.reconcile_members(group_id, declared.active, declared.passive)
        if change.joined or change.left or change.moved:
            log.info(
                "members reconciled",
                group=declared.key.name,
                joined=change.joined,
                left=change.left,
                moved=change.moved,
            )
        self._listen(group_id)

    def _listen(self, group_id: int) -> None:
        if group_id == self.group_id:
            return
        self.close()
        self.group_id = group_id
        self._database.listen(group_id)


async def _tell_the_rest(store: Store, declared: Declaration, refusal: ArgumentError) -> int:
    """A setting that is refused keeps no other one back; `refusal` again for a group that there is not yet."""
    try:
        await store.find_group(declared.key)
    except UnknownGroupError:
        raise refusal from None
    return await store.ensure_group(declared.key, declared.settings, keep=REFUSABLE)


async def _delete_predecessor(store: Store, declared: Declaration) -> None:
    """Deletes the rows of a deleted group of this name whose retention was Delete: they are not inherited."""
    for record in await store.list_groups(declared.key.cluster):
        another = record.resource_uid not in ("", declared.settings.resource_uid)
        if record.key == declared.key and another and record.retention is Retention.DELETE:
            log.info("predecessor's rows deleted", group=declared.key.name, id=record.id)
            await store.delete_group(record.id)
