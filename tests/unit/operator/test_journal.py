"""The change feed, read for people."""

from typing import Any

from operator_values import NOW, memory, robot

from robotgroups.models import Change, ChangeKind, Role
from robotgroups_operator.journal import Journal, read_changes
from robotgroups_operator.reporter import start_journal


def role_change(revision: int, roles: dict[str, str], **payload: Any) -> Change:
    told = {name: {"role": role, "tenure": 0, "ordinal": 0} for name, role in roles.items()}
    details = {"roles": told, "reason": None, "kind": None, "from": None, "to": None} | payload
    return Change(revision, ChangeKind.ROLE, revision, None, None, details, NOW)


def told(before: dict[str, str] | None, *changes: Change) -> list[tuple[str, str]]:
    _, notices = read_changes(Journal(0, before), changes)
    return [(notice.reason, notice.message) for notice in notices]


def test_members_that_join_and_leave() -> None:
    changes = (role_change(1, {"a": "active", "p": "passive"}), role_change(2, {"a": "active"}))
    assert told({}, *changes) == [
        ("RobotJoined", "a joined as active (epoch 1)"),
        ("RobotJoined", "p joined as passive (epoch 1)"),
        ("RobotLeft", "p, which was passive, left (epoch 2)"),
    ]


def test_a_failover() -> None:
    change = role_change(
        5, {"a": "failed", "p": "active"}, kind="failover", reason="killed", **{"from": "a", "to": "p"}
    )
    assert told({"a": "active", "p": "passive"}, change) == [
        ("Failover", "a failed: killed; p took over in epoch 5"),
        ("RobotFailed", "a, which was active, failed: killed (epoch 5)"),
        ("RobotPromoted", "p was promoted to active: killed (epoch 5)"),
    ]
    _, notices = read_changes(Journal(4, {"a": "active", "p": "passive"}), [change])
    assert [(notice.revision, notice.index, notice.warning) for notice in notices] == [
        (5, 0, True),
        (5, 1, True),
        (5, 2, False),
    ]


def test_a_switchover_and_a_return() -> None:
    over = role_change(2, {"a": "passive", "p": "active"}, kind="switchover", reason="stop", **{"from": "a", "to": "p"})
    assert told({"a": "active", "p": "passive"}, over) == [
        ("Switchover", "a handed over to p in epoch 2: stop"),
        ("RobotDemoted", "a is passive now: stop (epoch 2)"),
        ("RobotPromoted", "p was promoted to active: stop (epoch 2)"),
    ]
    back = role_change(3, {"a": "passive"}, reason="came back")
    assert told({"a": "failed"}, back) == [("RobotReturned", "a came back as passive (epoch 3)")]


def test_what_cannot_be_compared_is_not_told() -> None:
    assert told(None, role_change(3, {"a": "active"})) == []


def test_counts_what_was_synchronised() -> None:
    kinds = [
        ChangeKind.ADDED,
        ChangeKind.UPDATED,
        ChangeKind.EVICTED,
        ChangeKind.ADDED,
        ChangeKind.RESTORED,
        ChangeKind.CLEARED,
    ]
    changes = [Change(8 + index, kind, 1, 1, "a", {}, NOW) for index, kind in enumerate(kinds)]
    journal, notices = read_changes(Journal(7, {}, nodes_synced=10, evictions_synced=1), changes)
    assert journal == Journal(13, {}, nodes_synced=13, evictions_synced=2)
    assert notices == []


class TestStart:
    KNOWN = memory(robot("a", Role.ACTIVE))

    def test_of_a_new_group(self) -> None:
        empty = memory(robot("a", Role.ACTIVE), working_memory_nodes=0, revision=1)
        assert start_journal({}, empty) == Journal(0, {})

    def test_of_a_group_with_a_past_that_is_not_its_own(self) -> None:
        assert start_journal({}, self.KNOWN) == Journal(7, None)

    def test_where_the_status_ends(self) -> None:
        status = {
            "revision": 5,
            "active": ["a"],
            "failed": ["p"],
            "syncStats": {"nodesSynced": 4, "evictionsSynced": 2},
        }
        assert start_journal(status, self.KNOWN) == Journal(5, {"a": "active", "p": "failed"}, 4, 2)

    def test_of_a_database_that_came_back_without_its_past(self) -> None:
        assert start_journal({"revision": 99}, self.KNOWN) == Journal(7, None)
