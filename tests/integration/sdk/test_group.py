"""The SDK's surface (design §5), synchronously, on a real Postgres."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from robotgroups import RobotGroup
from robotgroups.errors import (
    AlreadyMemberError,
    ArgumentError,
    ClosedError,
    HostedElsewhereError,
    IdempotencyConflictError,
    LastActiveRobotError,
    MissingFeatureError,
    NoActiveRobotError,
    NoPassiveRobotError,
    UnknownMemoryError,
    UnknownRobotError,
    UnknownStrategyError,
)

NAME = "customer-support-ha"
LIMIT_S = 15


@pytest.fixture
def group(dsn: str) -> Iterator[RobotGroup]:
    with RobotGroup(
        name=NAME, active=["support-primary"], passive=["support-standby"], max_tokens=8000, dsn=dsn
    ) as group:
        yield group


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"not within {LIMIT_S} s: {what}"
        time.sleep(0.02)


def test_a_new_group_is_what_it_was_declared_to_be(group: RobotGroup, dsn: str) -> None:
    assert group.status() == {
        "name": NAME,
        "active": ["support-primary"],
        "passive": ["support-standby"],
        "failed": [],
        "total_members": 2,
        "working_memory_nodes": 0,
        "working_memory_tokens": 0,
        "max_tokens": 8000,
        "pinned_tokens": 0,
        "token_utilization": 0.0,
        "in_sync": True,
        "epoch": 2,
        "revision": 2,
        "eviction": "balanced",
        "space": None,
        "language": "english",
        "unembedded": 0,
        "backfill": 0,
        "failing_jobs": 0,
        "job_error": None,
    }
    assert (group.name, group.active, group.passive) == (NAME, ["support-primary"], ["support-standby"])
    assert (group.max_tokens, group.dsn, group.in_sync) == (8000, dsn, True)
    assert (group.channel.listening, group.channel.name) == (True, "rg_1")


def test_status_right_after_remember_is_in_sync_and_counts_memories(group: RobotGroup) -> None:
    for i in range(20):
        memory_id = group.remember(f"Customer account #{i} prefers email communication.")
        status = group.status()
        assert isinstance(memory_id, int)
        assert (status["working_memory_nodes"], status["in_sync"]) == (i + 1, True)
    assert status["working_memory_tokens"] == sum(m.tokens for m in group.working_memory())
    assert status["token_utilization"] == round(status["working_memory_tokens"] / 8000, 2) > 0


def test_remember_keeps_what_it_is_given(group: RobotGroup) -> None:
    before = datetime.now(UTC)
    memory_id = group.remember(
        "Open ticket #789", originator="support-standby", tags=["ticket:billing", "open"], metadata={"priority": 1}
    )
    (memory,) = group.working_memory()
    assert (memory.id, memory.content, memory.originator) == (memory_id, "Open ticket #789", "support-standby")
    assert set(memory.tags) == {"ticket:billing", "open"}
    assert memory.metadata == {"priority": 1}
    assert before - timedelta(minutes=1) < memory.created_at < datetime.now(UTC) + timedelta(minutes=1)


def test_the_originator_is_the_first_active_by_default(group: RobotGroup) -> None:
    group.add_active("support-secondary")
    group.remember("without an originator")
    assert group.working_memory()[0].originator == "support-primary"


def test_m2_the_same_content_or_key_is_one_memory(group: RobotGroup) -> None:
    first = group.remember("once", key="k")
    assert group.remember("once") == first
    assert group.remember("once", key="k") == first
    with pytest.raises(IdempotencyConflictError, match="idempotency key k was used with other content"):
        group.remember("twice", key="k")
    assert group.status()["working_memory_nodes"] == 1


def test_recall_finds_by_words_tags_metadata_and_time(group: RobotGroup) -> None:
    kept = group.remember("Customer prefers email", tags=["contact:email"], metadata={"vip": True, "n": 1})
    group.remember("Customer prefers telephone", tags=["contact:phone"], metadata={"vip": False})
    group.remember("Nothing to do with it")
    assert len(group.recall("customer")) == 2
    assert len(group.recall("customers", limit=1)) == 1
    assert [m.id for m in group.recall("customer", tags=["contact:email"])] == [kept]
    assert len(group.recall("customer", tags=["contact"])) == 2
    assert [m.id for m in group.recall("customer", metadata={"vip": True})] == [kept]
    now = datetime.now(UTC)
    assert len(group.recall("customer", timeframe=(now - timedelta(hours=1), None))) == 2
    assert group.recall("customer", timeframe=f"../{(now - timedelta(hours=1)).isoformat()}") == []
    assert len(group.recall("customer", timeframe="past hour")) == 2
    assert group.recall("customer", timeframe="2 years ago") == []
    assert len(group.recall("customer in the past hour", timeframe="auto")) == 2
    assert group.recall("customer 2 years ago", timeframe="auto") == []
    assert all(m.score is not None and m.score > 0 for m in group.recall("customer"))


def test_forget_hides_and_restore_brings_back(group: RobotGroup) -> None:
    memory_id = group.remember("Customer of yesterday")
    group.forget(memory_id)
    assert (group.recall("customer"), group.working_memory()) == ([], [])
    group.restore(memory_id)
    assert [m.id for m in group.recall("customer")] == [m.id for m in group.working_memory()] == [memory_id]
    with pytest.raises(UnknownMemoryError, match="999"):
        group.forget(999)


def test_clearing_empties_the_working_memory_and_nothing_else(group: RobotGroup) -> None:
    for i in range(3):
        group.remember(f"customer {i}")
    assert group.clear_working_memory() == 3
    assert group.clear_working_memory() == 0
    assert (group.working_memory(), group.status()["in_sync"]) == ([], True)
    assert len(group.recall("customer")) == 3


def test_context_holds_the_most_recent_within_its_budget(group: RobotGroup) -> None:
    group.remember("the first memory of all")
    group.remember("the second memory of all")
    made = group.context(strategy="recent")
    assert made.text == "the second memory of all\n\nthe first memory of all"
    assert group.context(strategy="recent", max_tokens=6).text == "the second memory of all"
    assert group.context(strategy="recent", max_tokens=6, query="First?").text == "the first memory of all"
    assert sorted(group.context().memory_ids) == [1, 2]


def test_transfer_makes_another_the_keeper(group: RobotGroup) -> None:
    for i in range(3):
        group.remember(f"memory {i}", originator="support-primary")
    group.remember("the other's", originator="support-standby")
    assert group.transfer_working_memory("support-primary", "support-standby") == 3
    assert {m.keeper for m in group.working_memory()} == {"support-standby"}
    assert group.transfer_working_memory("support-primary", "support-standby") == 0
    with pytest.raises(UnknownRobotError, match="has no robot stranger"):
        group.transfer_working_memory("support-primary", "stranger")


def test_failover_puts_the_failed_one_aside_until_it_is_added_again(group: RobotGroup) -> None:
    group.remember("Customer account #12345")
    assert group.failover() == "support-standby"
    status = group.status()
    assert (status["active"], status["passive"], status["failed"]) == (["support-standby"], [], ["support-primary"])
    assert (status["epoch"], status["in_sync"], status["total_members"]) == (3, True, 2)
    assert [m.content for m in group.recall("customer")] == ["Customer account #12345"]
    group.remember("by the promoted one")
    assert group.working_memory()[-1].originator == "support-standby"
    with pytest.raises(NoPassiveRobotError, match="support-standby"):
        group.failover()
    group.add_passive("support-primary")
    assert (group.passive, group.status()["failed"]) == (["support-primary"], [])
    assert group.failover("support-standby") == "support-primary"


def test_failover_of_who_is_not_active_is_refused(group: RobotGroup) -> None:
    with pytest.raises(ArgumentError, match="support-standby is not an active member"):
        group.failover("support-standby")
    assert group.active == ["support-primary"]


def test_switchover_keeps_the_replaced_one_as_a_standby(group: RobotGroup) -> None:
    group.remember("Customer account #12345")
    assert group.switchover() == "support-standby"
    status = group.status()
    assert (status["active"], status["passive"], status["failed"]) == (["support-standby"], ["support-primary"], [])
    assert [m.content for m in group.recall("customer")] == ["Customer account #12345"]
    group.remember("by the promoted one")
    assert group.working_memory()[-1].originator == "support-standby"
    assert group.switchover("support-primary", source="support-standby") == "support-primary"
    with pytest.raises(ArgumentError, match="support-primary is active already"):
        group.switchover("support-primary")


def test_members_come_and_go(group: RobotGroup) -> None:
    group.remember("known before the joining")
    group.add_active("support-secondary")
    assert group.sync_robot("support-secondary") == {"synced_nodes": 0, "members_updated": 0}
    assert group.active == ["support-primary", "support-secondary"]
    assert (group.is_member("support-secondary"), group.is_active("support-secondary")) == (True, True)
    assert (group.is_passive("support-standby"), group.is_passive("stranger")) == (True, False)
    group.demote("support-primary")
    assert (group.active, group.passive) == (["support-secondary"], ["support-primary", "support-standby"])
    with pytest.raises(LastActiveRobotError, match="support-secondary is the last active robot"):
        group.demote("support-secondary")
    group.promote("support-primary")
    assert group.active == ["support-primary", "support-secondary"]
    group.remove("support-secondary")
    group.remove("support-secondary")
    group.remove("stranger")
    assert group.status()["total_members"] == 2
    with pytest.raises(AlreadyMemberError, match="support-primary is already a member"):
        group.add_passive("support-primary")
    assert group.channel.listening


def test_the_last_active_robot_may_be_removed_and_then_nobody_writes(group: RobotGroup) -> None:
    group.remove("support-primary")
    with pytest.raises(NoActiveRobotError, match="no active robot"):
        group.remember("nobody is there")
    group.promote("support-standby")
    group.remember("somebody is there again")


def test_m4_the_budget_holds_and_what_alone_is_larger_stays_outside(dsn: str) -> None:
    with RobotGroup(name="small", active=["a"], max_tokens=50, dsn=dsn) as group:
        for i in range(30):
            group.remember(f"memory number {i} of many that compete for little room")
            assert group.status()["working_memory_tokens"] <= 50
        large = group.remember("word " * 100)
        assert large not in {m.id for m in group.working_memory()}
        (found,) = group.recall("word")
        assert (found.id, found.in_working_memory) == (large, False)
        assert group.sync_stats()["evictions_synced"] > 0
        with RobotGroup(name="small", max_tokens=20, dsn=dsn) as smaller:
            assert smaller.max_tokens == 20
            assert smaller.status()["working_memory_tokens"] <= 20


def test_sync_stats_count_what_came_in(group: RobotGroup) -> None:
    assert set(group.sync_stats()) == {"nodes_synced", "evictions_synced", "notifications_received"}
    for i in range(5):
        group.remember(f"memory {i}")
    assert group.in_sync
    stats = group.sync_stats()
    assert stats["nodes_synced"] == 10  # five memories, two robots
    assert stats["notifications_received"] > 0
    group.remove("support-standby")
    assert group.sync_stats()["nodes_synced"] == 10


def test_a_second_group_object_sees_the_same_and_may_write(group: RobotGroup, dsn: str) -> None:
    group.remember("from the first")
    with RobotGroup(NAME, dsn=dsn) as other:
        assert other.max_tokens == 8000
        assert other.active == group.active
        assert other.channel.listening is False
        other.remember("from the second")
        assert [m.content for m in other.working_memory()] == ["from the first", "from the second"]
        assert sorted(other.context().text.split("\n\n")) == ["from the first", "from the second"]
        assert [m.originator for m in other.working_memory()] == ["support-primary"] * 2
        assert group.in_sync
        until(lambda: other.in_sync, "the other one sees that the robots have caught up")
    assert [m.content for m in group.working_memory()] == ["from the first", "from the second"]


def test_a_robot_that_lives_elsewhere_is_refused_and_nothing_changes(group: RobotGroup, dsn: str) -> None:
    with pytest.raises(HostedElsewhereError, match=r"support-primary is hosted elsewhere and alive \(process \d+ on "):
        RobotGroup(NAME, active=["newcomer", "support-primary"], dsn=dsn)
    assert group.status()["total_members"] == 2


def test_roles_outlive_the_processes_and_come_back_as_they_were(dsn: str) -> None:
    with RobotGroup(NAME, active=["a"], passive=["b"], dsn=dsn) as group:
        group.remember("kept")
        group.failover()
    with RobotGroup(NAME, active=["a"], passive=["b"], dsn=dsn) as group:
        assert (group.active, group.passive) == (["b"], ["a"])
        assert (group.max_tokens, [m.content for m in group.working_memory()]) == (4000, ["kept"])


def test_a_failover_by_another_process_is_obeyed(group: RobotGroup, dsn: str) -> None:
    with RobotGroup(NAME, dsn=dsn) as other:
        assert other.failover() == "support-standby"
    until(lambda: group.status()["active"] == ["support-standby"] and group.in_sync, "the first one knows")
    group.remember("written by the promoted robot")
    group.add_passive("support-primary")
    assert group.passive == ["support-primary"]


def test_many_threads_may_write_at_once(group: RobotGroup) -> None:
    ids: list[int] = []

    def write(number: int) -> None:
        ids.extend(group.remember(f"thread {number}, memory {i}") for i in range(10))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 80
    status = group.status()
    assert (status["working_memory_nodes"], status["in_sync"]) == (80, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name '' must be a DNS label"),
        ({"name": "Support"}, "name 'Support' must be a DNS label"),
        ({"active": ["a_b"]}, "active 'a_b' must be a DNS label"),
        ({"active": ["a", "a"]}, "robot 'a' is named twice"),
        ({"active": ["a"], "passive": ["a"]}, "robot 'a' is named twice"),
        ({"active": "support"}, "active must be a list of names, not the text 'support'"),
        ({"passive": "standby"}, "passive must be a list of names, not the text 'standby'"),
        ({"max_tokens": 0}, "max_tokens must be a whole number, 1..2147483647, not 0"),
        ({"eviction": "random"}, "unknown eviction 'random': choose one of balanced, lru, lfu, fifo"),
        ({"language": 7}, "language must be text, not 7"),
        ({"space": "Our space"}, "space 'Our space' must be a DNS label"),
        ({"expire_after": 90}, "expire_after must be a timedelta between 1 second and 999999 days, or None, not 90"),
        ({"expire_after": timedelta(0)}, "expire_after must be a timedelta between 1 second"),
        ({"keep_memories": 0}, "keep_memories must be a whole number, 1..1000000000, not 0"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        RobotGroup(**{"name": "g", "active": ["a"]} | arguments, dsn="postgresql://nobody@127.0.0.1:1/nothing")
    assert isinstance(refused.value, ArgumentError)


def test_what_is_declared_of_a_group_holds_until_it_is_declared_anew(dsn: str) -> None:
    def stored() -> tuple[Any, ...]:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "SELECT eviction, language, max_tokens, expire_after_s, keep_memories FROM robotgroups.groups "
                "WHERE name = 'declared'"
            ).fetchone()
        assert row is not None
        return row

    first: dict[str, Any] = {"eviction": "fifo", "language": "german", "max_tokens": 100, "space": "common"}
    with RobotGroup("declared", ["a"], dsn=dsn, expire_after=timedelta(days=90), keep_memories=1000, **first) as group:
        status = group.status()
        assert {name: status[name] for name in first} == first
        group.remember("Die Kunden warten.")
        pinned = group.remember("Angeheftet.")
        group.pin(pinned)
        assert len(group.recall("Kunde")) == 1, "by German words"
        assert 0 < group.status()["pinned_tokens"] < group.status()["working_memory_tokens"]
        with RobotGroup("declared", dsn=dsn):  # says nothing of it
            assert stored() == ("fifo", "german", 100, 90 * 24 * 3600, 1000)
        with RobotGroup("sibling", ["b"], dsn=dsn, space="common", language="german") as other:
            assert len(other.recall("Kunde")) == 1, "the space is shared"
        with pytest.raises(ArgumentError, match="remembers in the space common, which cannot be changed to elsewhere"):
            RobotGroup("declared", dsn=dsn, space="elsewhere")
        with pytest.raises(ArgumentError, match="unknown text search language klingon"):
            RobotGroup("declared", dsn=dsn, language="klingon")
        with RobotGroup("declared", dsn=dsn, eviction="lru", expire_after=None, keep_memories=None):
            assert stored() == ("lru", "german", 100, None, None)


def test_wrong_calls_are_refused_and_name_the_value(group: RobotGroup) -> None:
    with pytest.raises(ArgumentError, match="content must not be blank"):
        group.remember("  \n")
    with pytest.raises(UnknownRobotError, match="originator stranger is no member"):
        group.remember("x", originator="stranger")
    with pytest.raises(UnknownStrategyError, match="'psychic'"):
        group.recall("customer", strategy="psychic")
    with pytest.raises(MissingFeatureError, match="the group has no embedding provider"):
        group.recall("customer", strategy="vector")
    with pytest.raises(MissingFeatureError, match="the group has no embedding provider"):
        group.recall("customer", strategy="hybrid")
    with pytest.raises(UnknownStrategyError, match="'newest'"):
        group.context(strategy="newest")
    with pytest.raises(ArgumentError, match="'some day'"):
        group.recall("customer", timeframe="some day")
    with pytest.raises(ArgumentError, match="stranger is not a passive member"):
        group.promote("stranger")
    with pytest.raises(UnknownRobotError, match="stranger is not hosted"):
        group.sync_robot("stranger")


def test_after_shutdown_presence_is_gone_and_calls_say_so(dsn: str) -> None:
    group = RobotGroup(NAME, active=["a"], passive=["b"], dsn=dsn)
    group.shutdown()
    group.shutdown()
    with pytest.raises(ClosedError, match=f"group {NAME} has been shut down"):
        group.remember("too late")
    with RobotGroup(NAME, dsn=dsn) as other:
        assert (other.active, other.passive, other.in_sync) == (["a"], ["b"], False)
        with pytest.raises(NoPassiveRobotError):
            other.failover()
