"""Which rows are swept."""

import pytest

from robotgroups.models import GroupKey, GroupRecord, Retention
from robotgroups_operator.sweep import SweepAction, plan_sweep


def record(resource: str = "gone", retention: Retention = Retention.RETAIN, login: str | None = "rg_1") -> GroupRecord:
    return GroupRecord(1, GroupKey("cluster", "ns", "team"), resource, retention, login)


@pytest.mark.parametrize(
    ("found", "served", "expected"),
    [
        (record("alive"), None, []),
        (record("alive", Retention.DELETE), None, []),
        (record(), None, [SweepAction.RETIRE]),
        (record(login=None), None, []),
        (record(retention=Retention.DELETE), None, [SweepAction.DELETE]),
        (record(retention=Retention.DELETE, login=None), None, [SweepAction.DELETE]),
        (record("", Retention.DELETE), None, []),
        (record(retention=Retention.DELETE), {"ns"}, [SweepAction.DELETE]),
        (record(retention=Retention.DELETE), {"other"}, []),
        (record(retention=Retention.DELETE), set(), []),
    ],
)
def test_sweeps(found: GroupRecord, served: set[str] | None, expected: list[SweepAction]) -> None:
    assert [sweep.action for sweep in plan_sweep([found], {"alive"}, served)] == expected
