"""M3 at the reducer: a cache at revision r equals the group at r, wherever it started from."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups.cache import Cache, GapError
from robotgroups.models import Change, ChangeKind, Memory, RobotRole, Role, Snapshot

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAX_TOKENS = 50


def memory(memory_id: int, *, tokens: int = 1, inside: bool = True, access_count: int = 0) -> Memory:
    return Memory(
        id=memory_id,
        content=f"memory {memory_id}",
        originator="a",
        tokens=tokens,
        tags=(),
        metadata={},
        created_at=NOW,
        remembered_at=NOW,
        remember_count=1 + access_count,
        forgotten_at=None,
        in_working_memory=inside,
        keeper="a" if inside else None,
        access_count=access_count,
        last_accessed_at=NOW if inside else None,
    )


@dataclass
class Group:
    """A group as Postgres would have it, and the changes and states it has gone through."""

    working: dict[int, Memory] = field(default_factory=dict)
    roles: dict[str, RobotRole] = field(default_factory=dict)
    epoch: int = 0
    changes: list[Change] = field(default_factory=list)
    states: list[Snapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.states.append(self.snapshot())

    def snapshot(self) -> Snapshot:
        return Snapshot(len(self.changes), self.epoch, MAX_TOKENS, dict(self.roles), tuple(self.working.values()))

    def record(self, kind: ChangeKind, memory_id: int | None = None, **payload: Any) -> None:
        self.changes.append(Change(len(self.changes) + 1, kind, self.epoch, memory_id, "a", payload, NOW))
        self.states.append(self.snapshot())

    def remember(self, memory_id: int, tokens: int) -> None:
        if (present := self.working.get(memory_id)) is not None:
            self.working[memory_id] = replace(present, access_count=present.access_count + 1)
            self.record(ChangeKind.UPDATED, memory_id, **self.working[memory_id].as_json())
            return
        self.enter(memory_id, tokens, ChangeKind.ADDED)

    def enter(self, memory_id: int, tokens: int, kind: ChangeKind) -> None:
        fits = tokens <= MAX_TOKENS
        while fits and sum(m.tokens for m in self.working.values()) + tokens > MAX_TOKENS:
            evicted = min(self.working)
            del self.working[evicted]
            self.record(ChangeKind.EVICTED, evicted)
        entered = memory(memory_id, tokens=tokens, inside=fits)
        if fits:
            self.working[memory_id] = entered
        self.record(kind, memory_id, **entered.as_json())

    def forget(self, memory_id: int) -> None:
        self.working.pop(memory_id, None)
        self.record(ChangeKind.FORGOTTEN, memory_id)

    def clear(self) -> None:
        count = len(self.working)
        self.working.clear()
        self.record(ChangeKind.CLEARED, count=count)

    def move(self, robot: str, role: Role) -> None:
        self.epoch += 1
        self.roles[robot] = RobotRole(role, self.epoch if role is Role.ACTIVE else 0, ord(robot))
        self.record(
            ChangeKind.ROLE,
            roles={n: {"role": r.role.value, "tenure": r.tenure, "ordinal": r.ordinal} for n, r in self.roles.items()},
        )


ids = st.integers(1, 6)
sizes = st.integers(1, MAX_TOKENS + 5)
steps = st.one_of(
    st.tuples(st.just("remember"), ids, sizes),
    st.tuples(st.just("restore"), ids, sizes),
    st.tuples(st.just("forget"), ids),
    st.tuples(st.just("clear")),
    st.tuples(st.just("move"), st.sampled_from("abc"), st.sampled_from(Role)),
)


def play(history: list[tuple[Any, ...]]) -> Group:
    group = Group()
    for name, *arguments in history:
        if name == "restore":
            memory_id, tokens = arguments
            if memory_id not in group.working:
                group.enter(memory_id, tokens, ChangeKind.RESTORED)
        else:
            getattr(group, name)(*arguments)
    return group


def seen(cache: Cache) -> Snapshot:
    return Snapshot(cache.revision, cache.epoch, cache.max_tokens, dict(cache.roles), tuple(cache.memories.values()))


def ordered(state: Snapshot) -> Snapshot:
    return replace(state, working_memory=tuple(sorted(state.working_memory, key=lambda m: m.id)))


@settings(deadline=None)
@given(st.lists(steps, max_size=30), st.data())
def test_a_cache_at_a_revision_equals_the_group_at_it(history: list[tuple[Any, ...]], data: st.DataObject) -> None:
    group = play(history)
    start = data.draw(st.integers(0, len(group.changes)))
    cache = Cache(group.states[start])
    assert seen(cache) == ordered(group.states[start])
    for change in group.changes[start:]:
        cache.apply(change)
        assert seen(cache) == ordered(group.states[change.revision])
        assert cache.tokens == sum(m.tokens for m in cache.memories.values()) <= MAX_TOKENS


@settings(deadline=None)
@given(st.lists(steps, min_size=2, max_size=20), st.data())
def test_a_change_that_does_not_follow_is_refused_and_changes_nothing(
    history: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    group = play([("clear",), ("clear",), *history])
    at = data.draw(st.integers(0, len(group.changes)))
    others = [c for c in group.changes if c.revision != at + 1]
    cache = Cache(group.states[at])
    with pytest.raises(GapError, match=f"does not follow {at}"):
        cache.apply(data.draw(st.sampled_from(others)))
    assert seen(cache) == ordered(group.states[at])


def test_changes_read_as_json_build_the_same_cache() -> None:
    group = play([("remember", 2, 3), ("move", "a", Role.ACTIVE), ("remember", 1, 4), ("forget", 2)])
    cache = Cache.empty()
    cache.max_tokens = MAX_TOKENS
    for change in group.changes:
        cache.apply(Change.from_json(change.as_json()))
    assert seen(cache) == ordered(group.snapshot())


def test_a_memory_too_large_for_the_budget_stays_outside() -> None:
    group = play([("remember", 1, MAX_TOKENS + 1)])
    cache = Cache(group.states[0])
    cache.apply(group.changes[0])
    assert (cache.revision, dict(cache.memories), cache.tokens) == (1, {}, 0)


def test_robots_of_a_role_come_in_declared_order() -> None:
    roles = {
        "z": RobotRole(Role.ACTIVE, 1, 0),
        "a": RobotRole(Role.ACTIVE, 1, 1),
        "b": RobotRole(Role.PASSIVE, 0, 2),
    }
    cache = Cache(Snapshot(1, 1, 10, roles, ()))
    assert cache.named(Role.ACTIVE) == ("z", "a")
    assert cache.named(Role.PASSIVE) == ("b",)
    assert cache.named(Role.FAILED) == ()


def test_what_a_reader_holds_cannot_change_the_cache() -> None:
    cache = Cache(Snapshot(1, 1, 10, {"a": RobotRole(Role.ACTIVE, 1, 0)}, (memory(1),)))
    with pytest.raises(TypeError):
        cache.memories[2] = memory(2)  # type: ignore[index]
    with pytest.raises(TypeError):
        cache.roles["b"] = RobotRole(Role.ACTIVE, 1, 0)  # type: ignore[index]
