"""Values that tests of pure decisions start from."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from robotgroups.models import FailoverMode, GroupStatus, RobotStatus, Role
from robotgroups_operator.manifests.identity import Group, Identity, RobotDefaults
from robotgroups_operator.observation import Observation, RobotView
from robotgroups_operator.pods import ContainerState, RobotPod
from robotgroups_operator.spec import parse_spec

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
IDENTITY = Identity("cluster-uid", "shop", "namespace-uid", "team", "group-uid")
DEFAULTS = RobotDefaults("registry.example/robot:1", "IfNotPresent")


def group(spec: dict[str, Any]) -> Group:
    return Group(IDENTITY, parse_spec(spec), DEFAULTS)


def incarnation(number: int) -> UUID:
    return UUID(int=number)


def robot(name: str, role: Role, **changes: Any) -> RobotStatus:
    """A live, warm robot whose presence comes from 10.0.0.<ordinal + 1>."""
    ordinal = changes.pop("ordinal", 0)
    made = RobotStatus(
        name=name,
        role=role,
        tenure=1 if role is Role.ACTIVE else 0,
        ordinal=ordinal,
        live=True,
        warm=True,
        applied_revision=7,
        heartbeat=100,
        incarnation=incarnation(ordinal + 1),
        endpoint=f"http://10.0.0.{ordinal + 1}:8080",
    )
    return replace(made, **changes)


def absent(name: str, role: Role, **changes: Any) -> RobotStatus:
    """A robot that never came."""
    gone = {"live": False, "warm": False, "applied_revision": 0, "heartbeat": 0, "incarnation": None, "endpoint": ""}
    return robot(name, role, **gone | changes)


def memory(*robots: RobotStatus, **changes: Any) -> GroupStatus:
    made = GroupStatus(
        id=1,
        name="team",
        epoch=3,
        revision=7,
        max_tokens=8000,
        working_memory_nodes=2,
        working_memory_tokens=400,
        heartbeat_ms=500,
        lease_ms=3000,
        suspended=False,
        active_target=sum(r.role is not Role.PASSIVE for r in robots),
        failovers=0,
        last_failover=None,
        robots=robots,
    )
    return replace(made, **changes)


def pod(robot_name: str, ordinal: int = 0, **changes: Any) -> RobotPod:
    """A ready pod of a robot, at 10.0.0.<ordinal + 1>."""
    made = RobotPod(
        name=f"team-{robot_name}-x",
        uid=f"pod-{robot_name}",
        robot=robot_name,
        node=f"node{ordinal + 1}",
        ip=f"10.0.0.{ordinal + 1}",
        phase="Running",
        deleting=False,
        ready=True,
        state=ContainerState.RUNNING,
        container_id=f"containerd://{robot_name}-1",
        problem="",
        problem_message="",
        role_label=None,
        serving_label="true",
    )
    return replace(made, **changes)


def observation(**changes: Any) -> Observation:
    """A look at a group of two that is well: `first` active, `second` passive; changed as told."""
    known = memory(robot("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1))
    made = Observation(
        group="team",
        generation=4,
        deleting=False,
        suspend=False,
        mode=FailoverMode.AUTOMATIC,
        passive_declared=1,
        active_declared=1,
        generated=0,
        selector="robotgroups.dev/group=team,robotgroups.dev/generated=true",
        robots=(
            RobotView("first", Role.ACTIVE, known.robots[0], pod("first")),
            RobotView("second", Role.PASSIVE, known.robots[1], pod("second", 1)),
        ),
        memory=known,
        memory_problem=None,
        problems=(),
        pending=(),
        suspects=(),
        sync=None,
        previous={"phase": "Ready"},
        now=NOW,
    )
    return replace(made, **changes)
