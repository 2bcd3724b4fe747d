"""Groups: made, listed, given away and deleted, mostly by the functions' owner (the operator)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from psycopg.types.json import Jsonb

from robotgroups.logins import Logins
from robotgroups.models import GroupKey, GroupRecord, GroupSettings, Retention


class Administration(Logins):
    """What makes and unmakes groups."""

    async def ensure_group(self, key: GroupKey, settings: GroupSettings, *, keep: Collection[str] = ()) -> int:
        """Make the group or bring its settings up to date; returns its id. A smaller budget evicts at once.

        The settings that ``keep`` names stay as they are stored.

        Raises:
            ArgumentError: an unknown language, fewer ``max_tokens`` than are pinned, another ``space`` than the group
                has; nothing was changed.

        """
        told = {name: value for name, value in asdict(settings).items() if name not in keep}
        return int(
            await self._value(
                "SELECT robotgroups.ensure_group(%s, %s, %s, %s)",
                (key.cluster, key.namespace_uid, key.name, Jsonb(told)),
            )
        )

    async def find_group(self, key: GroupKey) -> int:
        """Id of a group; UnknownGroupError when there is none, NotPermittedError when it is another login's."""
        return int(
            await self._value("SELECT robotgroups.find_group(%s, %s, %s)", (key.cluster, key.namespace_uid, key.name))
        )

    async def list_groups(self, cluster: str | None = None) -> list[GroupRecord]:
        """Groups of a cluster, or of all (owner only)."""
        rows = await self._rows(
            "SELECT * FROM robotgroups.groups WHERE cluster = coalesce(%s, cluster) ORDER BY id", (cluster,)
        )
        return [
            GroupRecord(
                r["id"],
                GroupKey(r["cluster"], r["namespace_uid"], r["name"]),
                r["resource_uid"],
                Retention(r["retention"]),
                r["login"],
                r["previous_login"],
            )
            for r in rows
        ]

    async def delete_group(self, group_id: int) -> bool:
        """Delete a group with all of its memory and its login (owner only); False when it was gone."""
        await self.drop_login(group_id)
        return bool(await self._rows("DELETE FROM robotgroups.groups WHERE id = %s RETURNING id", (group_id,)))

    async def adopt_group(self, key: GroupKey, namespace_uid: str) -> int:
        """Give a group's rows to another namespace (owner only); returns its id."""
        return int(
            await self._value(
                "SELECT robotgroups.adopt_group(%s, %s, %s, %s)",
                (key.cluster, key.namespace_uid, key.name, namespace_uid),
            )
        )
