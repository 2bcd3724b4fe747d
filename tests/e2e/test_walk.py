"""The page "Robot Groups Example", walked through by the demo's own steps on a sample."""

from on_cluster import Stage

from demo.groups import SAMPLES, Group
from demo.report import Report
from demo.walk import Walk


def test_the_page(stage: Stage, namespace: str) -> None:
    stage.kube.kubectl("-n", namespace, "apply", "--filename", str(SAMPLES / "customer-support.yaml"))
    group = Group(stage.kube, namespace, "customer-support")
    group.wait_ready()
    report = Report()
    with stage.client(group) as client:
        Walk(stage.cluster, group, client, report).run()
    assert [(row.name, row.detail) for row in report.rows if not row.ok] == []
    assert len(report.rows) == 9
    assert report.lost == 0
    assert report.promoted_ms is not None
    failover, *others = stage.failovers(group)
    assert others == []
    assert (failover["kind"], failover["source"], failover["target"]) == (
        "failover",
        "support-primary",
        "support-standby",
    )
