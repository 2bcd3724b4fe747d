"""Every kind of fault, by its name."""

from collections.abc import Mapping

from tests.chaos.faults import api, clock, nodes, operators, postgres, robots
from tests.chaos.faults.base import Fault
from tests.chaos.plan import Weight

_ALL: tuple[type[Fault], ...] = (
    robots.RobotKilled,
    robots.ContainerKilled,
    robots.SandboxKilled,
    robots.PodDeleted,
    robots.PodDeletedAtOnce,
    robots.StoppedBriefly,
    robots.StoppedBeyondLease,
    robots.OutOfMemory,
    robots.CutFromPostgres,
    robots.CutFromPostgresBeyondLease,
    clock.ClockOff,
    nodes.NodeCut,
    nodes.KubeletKilled,
    postgres.PostgresKilled,
    postgres.BackendKilled,
    postgres.PostgresRestarted,
    postgres.PostgresAway,
    postgres.SessionsEnded,
    postgres.SlotsExhausted,
    postgres.DiskFull,
    operators.OperatorKilled,
    operators.TwoOperators,
    api.ApiAway,
    api.ApiUnreliable,
)
KINDS: Mapping[str, type[Fault]] = {fault.kind: fault for fault in _ALL}


def weights() -> dict[str, Weight]:
    """What a plan is made from."""
    return {kind: Weight(fault.weight, fault.slow) for kind, fault in KINDS.items()}
