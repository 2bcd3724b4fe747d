"""What the synchronous SDK and client do with memory: scopes, expiry, many at once, recall, pins, updates, erasure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import anyio
import pytest

import robotgroups
from robotgroups import AsyncRobotGroup, Client, NewMemory, RobotGroup, scoped_token
from robotgroups.errors import (
    ArgumentError,
    IdempotencyConflictError,
    InvalidScopeError,
    NotPermittedError,
    UnknownMemoryError,
)

from .test_client import TOKEN, Served, served

__all__ = ["served"]

ANN, BOB = {"user": "ann"}, {"user": "bob"}


@pytest.fixture
def group(dsn: str) -> Iterator[RobotGroup]:
    with RobotGroup("memory", active=["a"], passive=["b"], max_tokens=1000, dsn=dsn) as group:
        yield group


def ids(found: list[robotgroups.Memory]) -> list[int]:
    return [m.id for m in found]


def test_the_same_words_in_two_scopes_are_two_memories_and_each_is_found_in_its_own(group: RobotGroup) -> None:
    ann = group.remember("likes tea", scope=ANN)
    bob = group.remember("likes tea", scope=BOB | {"topic": "drinks"})
    assert ids(group.recall("tea")) == [ann, bob]
    assert ids(group.recall("tea", scope=ANN)) == [ann]
    assert ids(group.recall("tea", scope={"topic": "drinks"})) == [bob]
    assert group.context(scope=BOB).memory_ids == (bob,)
    assert group.get(bob).scope == BOB | {"topic": "drinks"}
    with pytest.raises(InvalidScopeError, match="'User'"):
        group.context(scope={"User": "ann"})


def test_recall_gives_five_when_nothing_is_said(group: RobotGroup) -> None:
    group.remember_many([NewMemory(f"apple {i}") for i in range(12)])
    assert len(group.recall("apple")) == 5
    assert len(group.recall("apple", 12)) == 12

    async def asynchronously() -> int:
        async with await AsyncRobotGroup.open("memory", dsn=group.dsn) as opened:
            return len(await opened.recall("apple"))

    assert anyio.run(asynchronously) == 5


def test_many_are_remembered_in_order_and_nothing_when_one_is_wrong(group: RobotGroup) -> None:
    done = group.remember_many([NewMemory("one", scope=ANN), NewMemory("two", tags=["n"]), NewMemory("one", scope=ANN)])
    assert (done[0], done[1]) == (done[2], done[0] + 1)
    with pytest.raises(ArgumentError, match="content must not be blank") as refused:
        group.remember_many([NewMemory("three"), NewMemory(" ")])
    assert refused.value.__notes__ == ["it is memory 1 of 2"]
    with pytest.raises(IdempotencyConflictError):
        group.remember_many([NewMemory("four", key="k"), NewMemory("five", key="k")])
    assert [m.content for m in group.working_memory()] == ["one", "two", "four"]


def test_recall_tells_why_and_takes_in(group: RobotGroup) -> None:
    first = group.remember("an elephant in the room", tags=["animal:large"])
    second = group.remember("an elephant never forgets", originator="b")
    group.forget(second)
    assert ids(group.recall("elephant", include_forgotten=True)) == [first, second]
    assert ids(group.recall("elephant", originators=["b"], include_forgotten=True)) == [second]
    found = group.recall("elephant", relevance={"tags": 1.0}, tags=["animal"], explain=True)
    assert isinstance(found, robotgroups.Recalled)
    assert found.unembedded is None
    parts = found[0].parts or {}
    assert (parts["fulltext_rank"], parts["relevance"]["total"]) == (1, found[0].score)
    assert group.recall("elephant")[0].parts is None
    assert group.clear_working_memory() == 1
    assert group.recall("elephant last year", timeframe="auto") == []
    assert ids(group.recall("today", timeframe="auto")) == [first]
    assert group.recall("yesterday", timeframe="auto") == []
    assert [m.in_working_memory for m in group.recall("elephant", into_working_memory=True)] == [True]
    assert ids(group.working_memory()) == [first]


def test_what_recall_takes_in_is_told_as_it_is_then(group: RobotGroup) -> None:
    with RobotGroup("small", active=["a"], max_tokens=20, dsn=group.dsn) as small:
        made = [small.remember(f"elephant {name} of the seven") for name in ("one", "two", "three", "four", "five")]
        small.pin(made[4])
        found = small.recall("elephant", into_working_memory=True)
        places = [(m.in_working_memory, m.keeper, m.access_count, m.last_accessed_at, m.pinned) for m in found]
        now = [small.get(m.id) for m in found]
        assert places == [(m.in_working_memory, m.keeper, m.access_count, m.last_accessed_at, m.pinned) for m in now]
        assert [(m.id, m.access_count, m.pinned) for m in found if m.in_working_memory] == [
            (made[2], 1, False), (made[3], 1, False), (made[4], 1, True)
        ]  # fmt: skip


def test_the_same_question_again_finds_what_another_has_written(group: RobotGroup) -> None:
    with RobotGroup("memory", dsn=group.dsn) as other:
        assert group.recall("pear") == []
        pear = other.remember("a pear")
        assert ids(group.recall("pear")) == [pear]
        other.forget(pear)
        assert group.recall("pear") == []


def test_pins_updates_history_and_erasure(group: RobotGroup) -> None:
    kept, other = group.remember("kept"), group.remember("other")
    assert (group.pin(kept), group.pin(kept, other), group.unpin(other), group.unpin(other)) == (1, 1, 1, 0)
    assert group.clear_working_memory() == 1
    assert ids(group.working_memory()) == [kept]
    assert group.update(kept, "kept and changed", tags=["t"]).version == 2
    assert [v.content for v in group.history(kept)] == ["kept and changed", "kept"]
    assert len(group.history(kept, limit=1)) == 1
    assert group.propositions(kept) == []
    assert group.erase(kept) == 1
    assert group.erase(scope=ANN) == 0
    with pytest.raises(UnknownMemoryError):
        group.get(kept)


def test_what_has_expired_is_in_no_context_and_no_list(group: RobotGroup) -> None:
    memory_id = group.remember("soon over", expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert (ids(group.working_memory()), group.context().memory_ids) == ([memory_id], (memory_id,))
    with pytest.raises(ArgumentError, match=r"expires_at .* is not in the future"):
        group.remember("over already", expires_at=datetime.now(UTC))
    group.update(memory_id, expires_at=None)
    assert group.get(memory_id).expires_at is None
    for time in (datetime.max.replace(tzinfo=UTC), datetime(9999, 12, 31, 23, 59)):  # noqa: DTZ001  UTC, too
        group.remember(f"until {time}", expires_at=time)
    assert len(group.working_memory()) == 3


async def test_the_synchronous_client_does_the_same(served: Served) -> None:
    def use() -> None:
        with Client(served.url, TOKEN) as client:
            done = client.remember_many([NewMemory(f"apple {i}", scope=ANN if i % 2 else BOB) for i in range(20)])
            made = [d.id for d in done]
            assert made == sorted(made)
            assert len(client.recall("apple")) == 10
            assert ids(client.recall("apple", limit=20, scope=ANN)) == made[1::2]
            assert client.recall("apple", limit=1, explain=True, relevance=True)[0].parts is not None
            assert client.get(made[0]).scope == BOB
            assert (client.pin(*made[:3]), client.unpin(made[0])) == (3, 1)
            assert client.clear_working_memory() == 18
            assert ids(client.recall("apple", limit=2, scope=BOB, into_working_memory=True)) == made[:4:2]
            assert client.update(made[0], "a pear", expires_at=datetime(2100, 1, 1, tzinfo=UTC)).version == 2
            assert [v.content for v in client.history(made[0])] == ["a pear", "apple 0"]
            assert client.propositions(made[0]) == []
            with pytest.raises(UnknownMemoryError):
                client.propositions(10**9)
            with pytest.raises(IdempotencyConflictError):
                client.remember_many([NewMemory("x", key="k"), NewMemory("y", key="k")])
            assert client.erase(scope=ANN) == 10
            assert client.erase(made) == 10
        with Client(served.url, scoped_token(TOKEN, ANN)) as client:
            ann = client.remember("an umbrella").id
            assert (client.get(ann).scope, ids(client.recall("umbrella"))) == (ANN, [ann])
            with pytest.raises(NotPermittedError):
                client.clear_working_memory()

    await anyio.to_thread.run_sync(use)


def test_what_users_need_is_at_hand() -> None:
    for name in robotgroups.__all__:
        assert getattr(robotgroups, name) is not None
        assert not hasattr(getattr(robotgroups, name), "__path__"), f"{name} is no module"
    with pytest.raises(AttributeError, match="'nothing'"):
        robotgroups.nothing  # noqa: B018
