"""The active role is moved by an annotation, under load: no request fails, no pod restarts."""

from on_cluster import Stage, nothing_lost_or_doubled, writing

from demo.groups import Group
from demo.kube import JsonObject

SECONDS = 30


def _pods(group: Group) -> dict[str, str]:
    pods = group.kube.pods(group.namespace, f"robotgroups.dev/group={group.name}")
    return {pod["metadata"]["labels"]["robotgroups.dev/robot"]: pod["metadata"]["uid"] for pod in pods}


def _until_moved(group: Group, robot: str) -> JsonObject:
    def moved(status: JsonObject) -> bool:
        return status.get("observedSwitchover") == robot and status["active"] == [robot]

    return group.wait(f"with {robot} active", moved, SECONDS)


def test_annotated_switchovers_under_load(stage: Stage, namespace: str) -> None:
    spec = {"active": [{"name": "one"}], "passive": [{"name": "two"}], "maxTokens": 100_000}
    group = stage.apply(namespace, "moving", spec)
    group.wait_ready()
    before = _pods(group)
    with stage.client(group) as client, writing(client, "move", rate=20) as load:
        for robot, other in (("two", "one"), ("one", "two"), ("two", "one")):
            load.wait_for(load.count() + 20)
            annotation = f"robotgroups.dev/switchover={robot}"
            stage.kube.kubectl("-n", namespace, "annotate", "robotgroup", group.name, annotation, "--overwrite")
            status = _until_moved(group, robot)
            assert (status["passive"], status["failed"], status["failovers"]) == ([other], [], 0)
        load.wait_for(load.count() + 20)
        nothing_lost_or_doubled(stage, group, load)
    group.wait_ready()
    assert _pods(group) == before
    assert [(f["kind"], f["target"], f["detected_by"]) for f in stage.failovers(group)] == [
        ("switchover", "two", "annotation"), ("switchover", "one", "annotation"), ("switchover", "two", "annotation"),
    ]  # fmt: skip
    assert len(stage.events(group, "SwitchoverDone")) == 3
