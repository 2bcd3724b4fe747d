"""Reads a group's change feed for people: Kubernetes Events for changes of roles, counts for status.syncStats. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robotgroups.models import Change, ChangeKind, Role


@dataclass(frozen=True)
class Notice:
    """One thing to tell as a Kubernetes Event. (revision, index) names it: telling it twice makes one Event."""

    revision: int
    index: int
    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Journal:
    """How far the feed was read, and what it came to. `roles` is None until they are known."""

    revision: int
    roles: Mapping[str, str] | None
    nodes_synced: int = 0
    evictions_synced: int = 0


def read_changes(journal: Journal, changes: Sequence[Change]) -> tuple[Journal, list[Notice]]:
    """Folds changes, in order of revision, into the journal; returns it with what is to be told."""
    notices: list[Notice] = []
    for change in changes:
        if change.kind in (ChangeKind.ADDED, ChangeKind.RESTORED):
            journal = replace(journal, nodes_synced=journal.nodes_synced + 1)
        elif change.kind is ChangeKind.EVICTED:
            journal = replace(journal, evictions_synced=journal.evictions_synced + 1)
        elif change.kind is ChangeKind.ROLE:
            roles = {name: str(robot["role"]) for name, robot in change.payload["roles"].items()}
            told = _role_change(change, journal.roles, roles)
            notices.extend(replace(notice, index=index) for index, notice in enumerate(told))
            journal = replace(journal, roles=roles)
        journal = replace(journal, revision=change.revision)
    return journal, notices


def _role_change(change: Change, before: Mapping[str, str] | None, after: Mapping[str, str]) -> list[Notice]:
    def notice(reason: str, message: str, *, warning: bool = False) -> Notice:
        return Notice(change.revision, 0, reason, message, warning)

    payload: Mapping[str, Any] = change.payload
    why, source, target = payload.get("reason") or "", payload.get("from"), payload.get("to")
    notices = []
    if payload.get("kind") == "failover":
        notices.append(
            notice("Failover", f"{source} failed: {why}; {target} took over in epoch {change.epoch}", warning=True)
        )
    elif payload.get("kind") == "switchover":
        notices.append(notice("Switchover", f"{source} handed over to {target} in epoch {change.epoch}: {why}"))
    if before is None:
        return notices
    for name in sorted(after.keys() | before.keys()):
        old, new = before.get(name), after.get(name)
        if old != new and (told := _robot_change(name, old, new, why)):
            reason, message, warning = told
            notices.append(notice(reason, f"{message} (epoch {change.epoch})", warning=warning))
    return notices


def _robot_change(name: str, old: str | None, new: str | None, why: str) -> tuple[str, str, bool] | None:
    match old, new:
        case None, _:
            return "RobotJoined", f"{name} joined as {new}", False
        case _, None:
            return "RobotLeft", f"{name}, which was {old}, left", False
        case _, Role.FAILED:
            return "RobotFailed", f"{name}, which was {old}, failed: {why}", True
        case Role.FAILED, _:
            return "RobotReturned", f"{name} came back as {new}", False
        case _, Role.ACTIVE:
            return "RobotPromoted", f"{name} was promoted to active: {why}", False
        case _:
            return "RobotDemoted", f"{name} is {new} now: {why}", False
