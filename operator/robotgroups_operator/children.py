"""Which children a group is to have, and what to do about those that it has. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from robotgroups_operator.drift import differences
from robotgroups_operator.manifests.access import service, service_account
from robotgroups_operator.manifests.deployment import robot_deployment
from robotgroups_operator.manifests.identity import Group, Manifest
from robotgroups_operator.names import LABEL_ROBOT, Kind

JsonObject = dict[str, Any]


class Ownership(StrEnum):
    """Whose an object is."""

    OURS = "ours"
    PREDECESSOR = "predecessor"
    """Of a deleted RobotGroup of this name; the garbage collector is about to remove it."""
    STRANGER = "stranger"


def ownership(found: JsonObject, group: Group) -> Ownership:
    """Tells by the controller in the object's owner references; an object without one is a stranger's."""
    for reference in found["metadata"].get("ownerReferences") or ():
        if not reference.get("controller"):
            continue
        if reference["uid"] == group.identity.uid:
            return Ownership.OURS
        if (reference["kind"], reference["name"]) == (Kind.ROBOT_GROUP.value.kind, group.identity.name):
            return Ownership.PREDECESSOR
    return Ownership.STRANGER


@dataclass(frozen=True)
class Apply:
    """Write an object: make it (`found` is None), or bring it back to what it is to be."""

    kind: Kind
    manifest: Manifest
    reason: str
    found: JsonObject | None = None


@dataclass(frozen=True)
class Delete:
    """Remove an object of the group's own."""

    kind: Kind
    found: JsonObject
    reason: str


Step = Apply | Delete


def desired_children(group: Group) -> list[tuple[Kind, Manifest]]:
    """The manifests of a group's watched children, in the order in which they are made."""
    robots = [(Kind.DEPLOYMENT, robot_deployment(group, robot)) for robot in group.spec.robots]
    return [
        (Kind.SERVICE_ACCOUNT, service_account(group.identity)),
        (Kind.SERVICE, service(group.identity)),
        *robots,
    ]


def plan_children(group: Group, found: dict[Kind, tuple[JsonObject, ...]], *, may_stop_robots: bool) -> list[Step]:
    """What to write so that the group has its children and no others.

    `may_stop_robots` is false until Postgres knows the members and the suspension: until then no robot is removed or
    scaled to 0. Objects of strangers stay in the plan: carrying it out looks at the owner again, and reports them.
    """
    steps: list[Step] = []
    wanted: set[tuple[Kind, str]] = set()
    for kind, manifest in desired_children(group):
        name = manifest["metadata"]["name"]
        wanted.add((kind, name))
        known = next((body for body in found.get(kind, ()) if body["metadata"]["name"] == name), None)
        stops = kind is Kind.DEPLOYMENT and manifest["spec"]["replicas"] == 0
        if stops and not may_stop_robots:
            continue
        if known is None:
            steps.append(Apply(kind, manifest, "missing"))
        elif ownership(known, group) is not Ownership.OURS:
            steps.append(Apply(kind, manifest, "not ours", known))
        elif drift := differences(manifest, known):
            steps.append(Apply(kind, manifest, "differs in " + ", ".join(drift[:5]), known))
    if may_stop_robots:
        for kind, bodies in found.items():
            for body in bodies:
                if (kind, body["metadata"]["name"]) not in wanted and ownership(body, group) is Ownership.OURS:
                    robot = (body["metadata"].get("labels") or {}).get(LABEL_ROBOT, "")
                    steps.append(Delete(kind, body, f"the group has no robot {robot}" if robot else "not wanted"))
    return steps
