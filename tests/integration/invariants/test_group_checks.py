"""What a group may be declared to be: a trigger refuses the rest, whoever writes it and whatever else is written."""

import psycopg
import pytest

from .conftest import KEY, Group

pytestmark = pytest.mark.anyio

WRONG = [
    ("name", "''", '""'),
    ("max_tokens", "0", "0"),
    ("max_tokens", "-1", "-1"),
    ("retention", "'Keep'", '"Keep"'),
    ("retention", "'retain'", '"retain"'),
    ("failover_mode", "'automatic'", '"automatic"'),
    ("failover_mode", "''", '""'),
    ("heartbeat_ms", "9", "9"),
    ("heartbeat_ms", "-500", "-500"),
    ("lease_ms", "1499", "1499"),
    ("lease_ms", "0", "0"),
    ("failover_delay_ms", "-1", "-1"),
    ("failover_cooldown_ms", "-1", "-1"),
    ("failback", "'preferred'", '"preferred"'),
    ("active_target", "-1", "-1"),
    ("eviction", "'random'", '"random"'),
    ("expire_after_s", "0", "0"),
    ("expire_after_s", "-1", "-1"),
    ("keep_memories", "0", "0"),
    ("keep_memories", "-5", "-5"),
]
LEAST = {
    "max_tokens": 1,
    "heartbeat_ms": 10,
    "lease_ms": 1500,
    "failover_delay_ms": 0,
    "failover_cooldown_ms": 0,
    "active_target": 0,
    "expire_after_s": 1,
    "keep_memories": 1,
}


@pytest.mark.parametrize(("column", "value", "told"), WRONG)
async def test_a_group_is_not_changed_to_what_none_may_be(group: Group, column: str, value: str, told: str) -> None:
    before = await group.sql("SELECT to_jsonb(g) FROM robotgroups.groups g")
    name = "" if column == "name" else KEY.name
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        await group.sql(f"UPDATE robotgroups.groups SET {column} = {value}")
    assert refused.value.diag.message_primary == f"{column} of group {name} cannot be {told}"
    assert refused.value.diag.constraint_name == f"groups_{column}_check"
    # neither beside what is not looked at, nor by who inserts
    with pytest.raises(psycopg.errors.CheckViolation):
        await group.sql(f"UPDATE robotgroups.groups SET revision = revision + 1, {column} = {value}")
    columns = {"cluster": "'c'", "namespace_uid": "'n'", "name": "'other'", "space_id": "space_id", column: value}
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        await group.sql(
            f"INSERT INTO robotgroups.groups ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
            "FROM robotgroups.groups"
        )
    assert refused.value.diag.constraint_name == f"groups_{column}_check"
    assert await group.sql("SELECT to_jsonb(g) FROM robotgroups.groups g") == before


async def test_a_heartbeat_is_not_made_longer_than_a_third_of_the_lease(group: Group) -> None:
    await group.sql("UPDATE robotgroups.groups SET heartbeat_ms = 500, lease_ms = 1500")
    with pytest.raises(psycopg.errors.CheckViolation, match="lease_ms of group invariants cannot be 1500"):
        await group.sql("UPDATE robotgroups.groups SET heartbeat_ms = 501")
    await group.sql("UPDATE robotgroups.groups SET heartbeat_ms = 501, lease_ms = 1503")
    with pytest.raises(psycopg.errors.CheckViolation, match="lease_ms of group invariants cannot be 1502"):
        await group.sql("UPDATE robotgroups.groups SET lease_ms = 1502")


async def test_what_is_just_allowed_is_allowed(group: Group) -> None:
    await group.sql("UPDATE robotgroups.groups SET heartbeat_ms = 500")
    for column, value in LEAST.items():
        await group.sql(f"UPDATE robotgroups.groups SET {column} = %s", value)
    await group.sql("UPDATE robotgroups.groups SET expire_after_s = NULL, keep_memories = NULL")
    for column, values in {
        "retention": ("Retain", "Delete"),
        "failover_mode": ("Automatic", "Manual"),
        "failback": ("Never", "Preferred"),
        "eviction": ("balanced", "lru", "lfu", "fifo"),
    }.items():
        for word in values:
            await group.sql(f"UPDATE robotgroups.groups SET {column} = %s", word)
            assert await group.sql(f"SELECT {column} FROM robotgroups.groups") == [(word,)]


async def test_every_check_stands_on_a_column_whose_change_calls_it(group: Group) -> None:
    watched = await group.sql(
        "SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_trigger t "
        "JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr) WHERE t.tgname = 'check_group'"
    )
    assert watched == [(sorted({column for column, _, _ in WRONG}),)]
