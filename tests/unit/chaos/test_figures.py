"""What the table and the report say of each kind of fault."""

from tests.chaos import figures
from tests.chaos.checker import check
from tests.chaos.checks.outages import Outage
from tests.chaos.faults import KINDS, weights
from tests.chaos.history import Fault, History
from tests.chaos.report import text
from tests.chaos.tables import Tables

FAULTS = [
    Fault(1, "killed", "a", ("a",), (), 10.0, 10.0, 12.0, 0.0),
    Fault(2, "killed", "b", ("b",), (), 20.0, 20.0, 24.0, 0.0),
    Fault(3, "fresh pod", "a", (), ("a",), 30.0, 30.0, 31.0, 0.0, upkeep=True),
    Fault(4, "cut", "b", ("b",), (), 40.0, 45.0, None, 0.0),
]
OUTAGES = [Outage(10.1, 10.6, (1,)), Outage(30.0, 30.5, (3,)), Outage(41.0, 49.0, (4,))]


def test_by_kind() -> None:
    cut, killed = figures.by_kind(FAULTS, OUTAGES)
    assert (cut.kind, cut.cells()) == ("cut", ["1", "-", "-", "8000", "8000", "1"])
    assert (killed.kind, killed.cells()) == ("killed", ["2", "3.0", "4.0", "250", "500", "0"])


def test_every_kind_of_fault_has_a_name_of_its_own() -> None:
    assert weights().keys() == KINDS.keys() == {fault.kind for fault in KINDS.values()}


def test_the_report_tells_what_was_not_kept() -> None:
    empty = Tables(0, 0, 0, 1, (), (), (), frozenset(), {})
    history = History.of(FAULTS)
    told = text(check(history, empty, 7), history, ["all.png", "page.png"])
    assert "- stuck: fault 4: cut\n" in told
    assert "| killed | 2 | 3.0 | 4.0 | 0 | 0 | 0 |" in told
    assert "![faults](page.png)" in told
