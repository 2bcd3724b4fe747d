"""What the demo reports: rows, verdict, JSON; and what a helper reads from a pod."""

import json
from functools import partial
from pathlib import Path

import pytest

from demo.diagnosis import is_ready
from demo.groups import seconds_to_ready
from demo.report import Report, Seen
from localcluster.console import ClusterError


def _failing() -> Seen:
    raise ClusterError("the pod does not come up\nits log")


@pytest.mark.parametrize(("held", "ok"), [([], False), ([True], True), ([True, False], False), ([False, True], False)])
def test_ok_only_if_every_step_held(held: list[bool], ok: bool) -> None:
    report = Report()
    for number, each in enumerate(held):
        report.step(str(number), "", partial(Seen, each, ""))
    assert report.ok is ok


def test_an_error_is_a_row_and_goes_on() -> None:
    report = Report()
    with pytest.raises(ClusterError):
        report.step("three", "a pod", _failing)
    (row,) = report.rows
    assert (row.name, row.expected, row.ok, row.detail) == ("three", "a pod", False, "the pod does not come up")


def test_json_document(tmp_path: Path) -> None:
    report = Report(promoted_ms=12.5, service_outage_ms=40.0, lost=0)
    report.step("one", "1", lambda: Seen(True, "seen"))
    report.write(tmp_path / "demo.json")
    document = json.loads((tmp_path / "demo.json").read_text())
    (step,) = document.pop("steps")
    assert document == {"promoted_ms": 12.5, "service_outage_ms": 40.0, "lost": 0}
    assert set(step) == {"name", "ok", "ms", "detail"}
    assert (step["name"], step["ok"], step["detail"]) == ("one", True, "seen")


def test_readiness_of_a_pod() -> None:
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"}],
        "containerStatuses": [{"name": "robot", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
    }
    assert is_ready({"status": status})
    assert seconds_to_ready({"status": status}) == 2
    assert not is_ready({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}})
    assert is_ready({"status": {"phase": "Succeeded"}})
