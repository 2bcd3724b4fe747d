"""Values that cross borders: JSON there and back, and what is computed from them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups.memories import MemoryJson
from robotgroups.models import (
    Change,
    ChangeKind,
    Failover,
    GroupStatus,
    Memory,
    RobotRole,
    RobotStatus,
    Role,
    roles_from_json,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(st.none() | st.booleans() | st.integers() | text, lambda v: st.lists(v, max_size=3), max_leaves=5)
times = st.datetimes(timezones=st.just(UTC)) | st.datetimes(
    datetime(1900, 1, 1), timezones=st.just(timezone(timedelta(hours=5, minutes=30)))  # noqa: DTZ001
)  # fmt: skip
memories = st.builds(
    Memory,
    id=st.integers(1, 2**63 - 1),
    content=text,
    originator=text,
    tokens=st.integers(0, 10**6),
    tags=st.lists(text, max_size=3).map(tuple),
    metadata=st.dictionaries(text, values, max_size=3),
    created_at=times,
    remembered_at=times,
    remember_count=st.integers(1, 100),
    forgotten_at=st.none() | times,
    in_working_memory=st.booleans(),
    keeper=st.none() | text,
    access_count=st.integers(0, 100),
    last_accessed_at=st.none() | times,
    score=st.none() | st.floats(0, 1),
)


@given(memories)
def test_a_memory_survives_json(memory: Memory) -> None:
    assert Memory.from_json(json.loads(json.dumps(memory.as_json()))) == memory


@given(memories)
def test_a_change_holds_its_memory_until_somebody_reads_it_as_json(memory: Memory) -> None:
    told = MemoryJson(memory)
    change = Change(1, ChangeKind.ADDED, 1, memory.id, "a", told, NOON)
    assert Memory.from_json(change.payload) is memory
    assert not change.erased
    assert change == replace(change, payload=memory.as_json())
    assert json.loads(json.dumps(change.as_json())) == json.loads(
        json.dumps(replace(change, payload=memory.as_json()).as_json())
    )
    assert "erased" not in told
    assert len(told) == len(memory.as_json())


@given(memories)
def test_only_recall_gives_a_score(memory: Memory) -> None:
    assert ("score" in memory.as_json()) == (memory.score is not None)
    assert Memory.from_json(replace(memory, score=None).as_json(), 0.0).score == 0.0


changes = st.builds(
    Change,
    revision=st.integers(1),
    kind=st.sampled_from(ChangeKind),
    epoch=st.integers(0),
    memory_id=st.none() | st.integers(1),
    robot=st.none() | text,
    payload=st.dictionaries(text, values, max_size=3),
    created_at=times,
)


@given(changes)
def test_a_change_survives_json(change: Change) -> None:
    assert Change.from_json(json.loads(json.dumps(change.as_json()))) == change


def test_roles_are_read_as_role_events_carry_them() -> None:
    read = roles_from_json(
        {
            "a": {"role": "active", "tenure": 7, "ordinal": 0},
            "b": {"role": "passive", "tenure": 0, "ordinal": 1},
            "c": {"role": "failed", "tenure": 0, "ordinal": 2},
        }
    )
    assert read == {
        "a": RobotRole(Role.ACTIVE, 7, 0),
        "b": RobotRole(Role.PASSIVE, 0, 1),
        "c": RobotRole(Role.FAILED, 0, 2),
    }
    with pytest.raises(ValueError, match="boss"):
        roles_from_json({"a": {"role": "boss", "tenure": 0, "ordinal": 0}})


def robot(name: str, role: Role, applied: int, *, live: bool = True) -> RobotStatus:
    return RobotStatus(name, role, 0, 0, live, True, applied, 1, uuid4(), "")


def status(*robots: RobotStatus, tokens: int = 1234) -> GroupStatus:
    return GroupStatus(
        id=1,
        name="g",
        epoch=3,
        revision=10,
        max_tokens=8000,
        working_memory_nodes=2,
        working_memory_tokens=tokens,
        heartbeat_ms=500,
        lease_ms=3000,
        suspended=False,
        active_target=1,
        failovers=0,
        last_failover=None,
        robots=robots,
    )


A, B, C = robot("a", Role.ACTIVE, 10), robot("b", Role.PASSIVE, 10), robot("c", Role.FAILED, 0, live=False)


def test_the_mapping_is_the_sdks() -> None:
    assert status(A, B, C).as_dict() == {
        "name": "g",
        "active": ["a"],
        "passive": ["b"],
        "failed": ["c"],
        "total_members": 3,
        "working_memory_nodes": 2,
        "working_memory_tokens": 1234,
        "max_tokens": 8000,
        "pinned_tokens": 0,
        "token_utilization": 0.15,
        "in_sync": True,
        "epoch": 3,
        "revision": 10,
        "eviction": "balanced",
        "space": None,
        "language": "english",
        "unembedded": 0,
        "backfill": 0,
        "failing_jobs": 0,
        "job_error": None,
    }


@pytest.mark.parametrize(
    ("robots", "in_sync"),
    [
        ((A, B), True),
        ((A, C), True),  # who does not live is not asked
        ((A, robot("b", Role.PASSIVE, 9)), False),
        ((A, robot("b", Role.PASSIVE, 11)), True),  # it was faster than this reading
        ((C,), False),
        ((), False),
    ],
)
def test_in_sync_asks_every_live_robot(robots: tuple[RobotStatus, ...], *, in_sync: bool) -> None:
    assert status(*robots).in_sync is in_sync


@pytest.mark.parametrize(("tokens", "share"), [(0, 0.0), (39, 0.0), (41, 0.01), (8000, 1.0), (7999, 1.0)])
def test_utilization_has_two_digits(tokens: int, share: float) -> None:
    assert status(A, tokens=tokens).token_utilization == share


def test_a_failover_tells_its_duration() -> None:
    failover = Failover(1, "failover", "a", "b", "killed", "c", 4, 9, NOON, NOON + timedelta(milliseconds=12.5))
    assert failover.as_json() == {
        "kind": "failover",
        "from": "a",
        "to": "b",
        "reason": "killed",
        "detectedBy": "c",
        "epoch": 4,
        "revision": 9,
        "detectedAt": "2026-01-01T12:00:00+00:00",
        "promotedAt": "2026-01-01T12:00:00.012500+00:00",
        "durationMs": 12.5,
    }
