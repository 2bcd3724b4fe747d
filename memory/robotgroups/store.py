"""Everything that the SQL functions offer, typed: groups, members, roles and memory. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from robotgroups import errors, snapshots
from robotgroups.administration import Administration
from robotgroups.feed import READ, changes_of_rows
from robotgroups.files_store import FilesStore
from robotgroups.jobs import Jobs
from robotgroups.lifecycle_store import LifecycleStore
from robotgroups.link import Link
from robotgroups.logins import login_number, login_of, password_of, robot_dsn, with_ca
from robotgroups.memories import Place
from robotgroups.memory_session import MemorySession
from robotgroups.models import (
    Change,
    Failover,
    FailoverResult,
    GroupStatus,
    MembershipChange,
    Memory,
    Remembered,
    Revised,
    RobotStatus,
    Role,
    Snapshot,
    SwitchoverResult,
    Verdict,
)
from robotgroups.presence import channel
from robotgroups.recall import Filters, Fusion, Recalled, RecallStrategy
from robotgroups.relations_store import RelationsStore
from robotgroups.snapshots import snapshot_of_rows
from robotgroups.transfer_store import TransferStore

FUSION, NO_FILTERS = Fusion(), Filters()
_RECALL = "SELECT * FROM robotgroups.recall_rows(%s, %s, %s, %s, %s, %s::bigint, %s, %s, %s, %s, %s)"
_FLOAT4 = "%.9g".__mod__  # all the digits that a float4 has, in a third of the time that all of Python's take
_RECALL_BY_VECTOR = (
    "SELECT * FROM robotgroups.unembedded_by(%s, %s::bigint) unembedded "
    "LEFT JOIN robotgroups.recall_rows(%s, %s, %s, %s, %s, %s::bigint, %s, %s, %s, %s, %s) ON true"
)

__all__ = ["Store", "login_number", "login_of", "password_of", "robot_dsn", "with_ca"]


class Store(LifecycleStore, RelationsStore, FilesStore, TransferStore, Jobs, Administration):
    """The schema ``robotgroups``, by a pool of connections; open it with ``Store.open`` and close it."""

    # -- members and roles -------------------------------------------------------------------------------------------

    async def reconcile_members(self, group_id: int, active: Sequence[str], passive: Sequence[str]) -> MembershipChange:
        """Bring the members to what is declared, in this order; roles that failover has moved stay."""
        row = await self._row(
            "SELECT * FROM robotgroups.reconcile_members(%s, %s::text[], %s::text[])",
            (group_id, list(active), list(passive)),
        )
        return MembershipChange(tuple(row["joined"]), tuple(row["gone"]), tuple(row["moved"]))

    async def join(self, group_id: int, robot: str, role: Role) -> int:
        """Add a member, or bring a failed one back; returns the epoch. AlreadyMemberError."""
        return int(await self._value("SELECT robotgroups.join_robot(%s, %s, %s)", (group_id, robot, role.value)))

    async def leave(self, group_id: int, robot: str) -> bool:
        """Remove a member; False when it was none."""
        return bool(await self._value("SELECT robotgroups.leave(%s, %s)", (group_id, robot)))

    async def promote(self, group_id: int, robot: str) -> int:
        """Make a warm passive robot active beside the others; returns the epoch. ArgumentError, NotWarmError."""
        return int(await self._value("SELECT robotgroups.promote(%s, %s)", (group_id, robot)))

    async def demote(self, group_id: int, robot: str) -> int:
        """Make an active robot passive; returns the epoch. ArgumentError, LastActiveRobotError."""
        return int(await self._value("SELECT robotgroups.demote(%s, %s)", (group_id, robot)))

    async def failover(self, group_id: int, failed: str | None = None, *, detected_by: str) -> FailoverResult:
        """Replace ``failed``, else an active robot that is not live, else the first.

        Raises NoPassiveRobotError, NoActiveRobotError.
        """
        row = await self._row("SELECT * FROM robotgroups.failover(%s, %s, %s)", (group_id, failed, detected_by))
        return FailoverResult(**row)

    async def switchover(
        self, group_id: int, source: str | None = None, target: str | None = None, *, asked_by: str
    ) -> SwitchoverResult:
        """Let ``target``, else the best passive robot, take over from ``source``, else from the first active one.

        Nobody's connections end: the replaced robot is passive and passes on what reaches it.

        Raises:
            NoPassiveRobotError, NotWarmError: nobody can take over, or ``target`` cannot yet.
            NoActiveRobotError: there is nobody to replace.
            ArgumentError: ``source`` is not active, ``target`` not passive, or the group is suspended.

        """
        row = await self._row(
            "SELECT * FROM robotgroups.switchover(%s, %s, %s, %s)", (group_id, source, target, asked_by)
        )
        return SwitchoverResult(**row)

    async def hand_over(
        self, group_id: int, robot: str, incarnation: UUID, reason: str, *, asked_by: str | None = None
    ) -> str | None:
        """Switch over from a robot that is about to stop; returns who took over, None when nobody could.

        ``asked_by`` None: the robot itself.
        """
        promoted = await self._value(
            "SELECT robotgroups.hand_over(%s, %s, %s, %s, %s)", (group_id, robot, incarnation, reason, asked_by)
        )
        return None if promoted is None else str(promoted)

    async def withdraw(self, group_id: int, robot: str, incarnation: UUID) -> bool:
        """End an incarnation's presence cleanly; the role stays. False when it was not present."""
        return bool(await self._value("SELECT robotgroups.withdraw(%s, %s, %s)", (group_id, robot, incarnation)))

    async def declare_failed(
        self,
        group_id: int,
        robot: str,
        incarnation: UUID | None,
        *,
        observed_heartbeat: int | None = None,
        reason: str,
        detected_by: str,
    ) -> Verdict:
        """Declare an incarnation dead; Postgres looks for itself (R3).

        ``observed_heartbeat`` is the counter that the caller has seen unchanged for a lease on its own monotonic clock.
        """
        row = await self._row(
            "SELECT * FROM robotgroups.declare_failed(%s, %s, %s, %s, %s, %s)",
            (group_id, robot, incarnation, observed_heartbeat, reason, detected_by),
        )
        return Verdict.from_row(row)

    # -- memory ------------------------------------------------------------------------------------------------------

    async def remember(
        self,
        group_id: int,
        *,
        robot: str | None,
        tenure: int | None,
        content: str,
        tokens: int,
        originator: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Remembered:
        """Remember one, in a transaction of its own: once (M2), durable at return (M1). Robots do it by a ``writer``.

        ``tenure`` None is for the owner, and writes for the first active robot.

        Raises:
            NotActiveError: the fence (R2).
            ArgumentError, UnknownRobotError, IdempotencyConflictError, MemoryUnavailableError.

        """
        row = await self._row(
            "SELECT * FROM robotgroups.remember(%s, %s, %s, %s, %s, %s, %s::text[], %s, %s)",
            (group_id, robot, tenure, content, tokens, originator, list(tags), Jsonb(dict(metadata or {})), key),
        )
        return Remembered(**row, tokens=tokens)

    def session(self, group_id: int) -> MemorySession:
        """A connection of its own to remember on; close it."""
        return MemorySession(self.conninfo, group_id)

    async def forget(self, group_id: int, *, robot: str | None, tenure: int | None, memory_id: int) -> Revised:
        """Hide a memory until it is restored. NotActiveError, UnknownMemoryError."""
        row = await self._row(
            "SELECT * FROM robotgroups.forget(%s, %s, %s, %s::bigint)", (group_id, robot, tenure, memory_id)
        )
        return Revised(memory_id, row["revision"], row["epoch"])

    async def restore(self, group_id: int, *, robot: str | None, tenure: int | None, memory_id: int) -> Revised:
        """Bring a forgotten memory back, into the working set too. NotActiveError, UnknownMemoryError."""
        row = await self._row(
            "SELECT * FROM robotgroups.restore(%s, %s, %s, %s::bigint)", (group_id, robot, tenure, memory_id)
        )
        return Revised(memory_id, row["revision"], row["epoch"])

    async def clear_working_memory(self, group_id: int, *, robot: str | None, tenure: int | None) -> int:
        """Empty the working set; long-term memory stays. Returns how many left it."""
        return int(await self._value("SELECT robotgroups.clear_working_memory(%s, %s, %s)", (group_id, robot, tenure)))

    async def transfer_working_memory(
        self, group_id: int, *, robot: str | None, tenure: int | None, source: str, target: str
    ) -> int:
        """Make ``target`` the keeper of ``source``'s working memories; returns how many."""
        return int(
            await self._value(
                "SELECT robotgroups.transfer_working_memory(%s, %s, %s, %s, %s)",
                (group_id, robot, tenure, source, target),
            )
        )

    async def into_working_memory(
        self, group_id: int, *, robot: str | None, tenure: int | None, memory_ids: Sequence[int]
    ) -> tuple[dict[int, Place], int]:
        """Take memories into the working set, or count them as accessed there: those in it now, and the revision."""
        row = await self._row(
            "SELECT * FROM robotgroups.take_in(%s, %s, %s, %s::bigint[])", (group_id, robot, tenure, list(memory_ids))
        )
        columns = (row[name] or () for name in ("entered", "keepers", "access_counts", "accessed_at", "pinned"))
        places = {
            memory_id: Place(keeper, accesses, accessed_at.astimezone(UTC), pinned)
            for memory_id, keeper, accesses, accessed_at, pinned in zip(*columns, strict=True)
        }
        return places, row["revision"]

    async def pin(
        self, group_id: int, *, robot: str | None, tenure: int | None, memory_ids: Sequence[int], pinned: bool
    ) -> tuple[int, int]:
        """Keep memories in the working set, or let them go as others do: how many changed, and the revision."""
        row = await self._row(
            "SELECT * FROM robotgroups.pin(%s, %s, %s, %s::bigint[], %s)",
            (group_id, robot, tenure, list(memory_ids), pinned),
        )
        return row["changed"], row["revision"]

    async def lex(self, group_id: int, limit: int = 500) -> int:
        """Make the lexemes of memories that have none yet; returns how many."""
        return int(await self._value("SELECT robotgroups.lex(%s, %s)", (group_id, limit)))

    async def recall(
        self,
        group_id: int,
        query: str,
        *,
        strategy: RecallStrategy = RecallStrategy.FULLTEXT,
        limit: int,
        filters: Filters = NO_FILTERS,
        model: int | None = None,
        vector: Sequence[float] | None = None,
        fusion: Fusion = FUSION,
        parts: bool = True,
    ) -> Recalled:
        """Memories that match, best first, ties to the older one; with their ``parts``: what each was ranked by.

        ``model`` and ``vector``: the query's embedding, for vector and hybrid; these tell how much is ``unembedded``.
        """
        arguments = (
            group_id,
            strategy.value,
            query,
            limit,
            Jsonb(filters.as_json()),
            model,
            None if vector is None else f"[{','.join(map(_FLOAT4, vector))}]",
            fusion.fulltext,
            fusion.vector,
            int(fusion.k),
            parts,
        )
        if strategy is RecallStrategy.FULLTEXT:
            return Recalled(map(Memory.from_row, await self._read(_RECALL, arguments)))
        # one row at least: how much is not embedded is told even when nothing is found
        rows = await self._read(_RECALL_BY_VECTOR, (group_id, model, *arguments))
        return Recalled((Memory.from_row(row[1:]) for row in rows if row[1] is not None), rows[0][0])

    async def memory(self, group_id: int, memory_id: int) -> Memory:
        """One memory, forgotten or not. UnknownMemoryError."""
        return Memory.from_json(
            await self._value("SELECT robotgroups.get_memory(%s, %s::bigint)", (group_id, memory_id))
        )

    # -- links -------------------------------------------------------------------------------------------------------

    async def hang_link(self, group_id: int, robot: str, incarnation: UUID, address: str, key: bytes) -> bool:
        """Let the group's robots know where this one tells what it writes. False: it is not present."""
        return bool(
            await self._value(
                "SELECT robotgroups.hang_link(%s, %s, %s, %s, %s)", (group_id, robot, incarnation, address, key)
            )
        )

    async def link(self, group_id: int, robot: str) -> Link | None:
        """Where a robot tells what it writes, if it does."""
        rows = await self._rows("SELECT * FROM robotgroups.link_of(%s, %s)", (group_id, robot))
        return Link(rows[0]["link"], bytes(rows[0]["link_key"])) if rows else None

    async def announce(self, group_id: int, revision: int) -> None:
        """Announce a revision that its transaction did not announce."""
        await self._value("SELECT pg_notify(%s, %s) IS NULL", (channel(group_id), str(revision)))

    # -- reading -----------------------------------------------------------------------------------------------------

    async def snapshot(self, group_id: int) -> Snapshot:
        """Revision, roles and working set of one moment. UnknownGroupError."""
        return snapshot_of_rows(await self._read(snapshots.READ, (group_id,)), group_id)

    async def changes(self, group_id: int, after: int, limit: int = 1000) -> list[Change]:
        """Events after a revision, in order, at most ``limit``."""
        return changes_of_rows(await self._read(READ, (group_id, after, limit)), after, limit)

    async def status(self, group_id: int) -> GroupStatus:
        """The group's state in one snapshot. UnknownGroupError."""
        data = await self._value("SELECT robotgroups.group_state(%s)", (group_id,))
        if data is None:
            raise errors.UnknownGroupError(f"no group has id {group_id}")
        last = data.pop("last_failover")
        robots = tuple(
            RobotStatus(
                **r | {"role": Role(r["role"]), "incarnation": UUID(r["incarnation"]) if r["incarnation"] else None}
            )
            for r in data.pop("robots")
        )
        return replace(GroupStatus(**data, last_failover=None), robots=robots, last_failover=last and _failover(last))

    async def failovers(self, group_id: int, limit: int = 20) -> list[Failover]:
        """The newest failovers and switchovers first (R1)."""
        return [
            _failover(r)
            for r in await self._rows("SELECT * FROM robotgroups.list_failovers(%s, %s)", (group_id, limit))
        ]


def _failover(row: Mapping[str, Any]) -> Failover:
    values = {k: v for k, v in row.items() if k != "group_id"}
    for name in ("detected_at", "promoted_at"):
        if isinstance(values[name], str):
            values[name] = datetime.fromisoformat(values[name])
    return Failover(**values)
