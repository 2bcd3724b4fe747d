import pytest

from robotgroups_robot import health
from robotgroups_robot.health import Health, Phase

WAITING = "Postgres is not available"


def test_starting_says_what_it_waits_for() -> None:
    assert health.startup(Phase.STARTING, WAITING) == Health(False, WAITING)
    assert health.readiness(Phase.STARTING, WAITING, None) == Health(False, WAITING)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.DRAINING])
def test_registered_is_started(phase: Phase) -> None:
    assert health.startup(phase, "") == Health(True)


@pytest.mark.parametrize("serving", [Health(True), Health(False, "its lease has run out")])
def test_running_is_as_ready_as_the_robot_judges_itself(serving: Health) -> None:
    assert health.readiness(Phase.RUNNING, "", serving) == serving


def test_draining_is_never_ready() -> None:
    told = health.readiness(Phase.DRAINING, "", Health(True))
    assert told == Health(False, "the robot is draining: it has been told to stop")


def test_alive_until_what_keeps_the_robot_ends() -> None:
    assert health.liveness(None) == Health(True)
    assert health.liveness("the heartbeat has ended") == Health(False, "the heartbeat has ended")
