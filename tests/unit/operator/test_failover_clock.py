"""What the operator counts of failovers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from operator_values import memory, robot
from prometheus_client import REGISTRY

from robotgroups.models import Failover, GroupStatus, Role
from robotgroups_operator.failover_clock import FailoverClock
from robotgroups_operator.metrics import FAILOVER_SECONDS

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    FAILOVER_SECONDS.clear()
    yield
    FAILOVER_SECONDS.clear()


def status(number: int | None, kind: str = "failover") -> GroupStatus:
    promoted = AT + timedelta(milliseconds=20)
    last = Failover(number, kind, "a", "b", "dead", "b", 2, 2, AT, promoted) if number else None
    return memory(robot("first", Role.ACTIVE), last_failover=last)


def counted(kind: str, phase: str) -> tuple[float | None, float | None]:
    labels = {"kind": kind, "phase": phase}
    name = "robotgroups_operator_failover_seconds"
    return tuple(REGISTRY.get_sample_value(f"{name}_{part}", labels) for part in ("count", "sum"))  # type: ignore[return-value]


def test_each_phase_counts_once() -> None:
    clock = FailoverClock()
    clock.look(status(None), 1.0)
    clock.look(status(7), 2.0)
    for now in (2.25, 3.0):
        clock.reached("relabel", now)
    clock.reached("status", 2.5)
    clock.look(status(7), 4.0)
    clock.reached("status", 5.0)
    assert counted("failover", "promote") == (1, 0.02)
    assert counted("failover", "relabel") == (1, 0.25)
    assert counted("failover", "status") == (1, 0.5)


def test_what_was_before_is_not_counted() -> None:
    clock = FailoverClock()
    clock.look(status(7), 1.0)
    clock.reached("relabel", 1.5)
    assert counted("failover", "relabel") == (None, None)


def test_a_switchover_is_one_of_its_own() -> None:
    clock = FailoverClock()
    clock.look(status(7), 1.0)
    clock.look(status(8, "switchover"), 2.0)
    clock.reached("relabel", 2.5)
    assert (counted("switchover", "relabel"), counted("failover", "relabel")) == ((1, 0.5), (None, None))
