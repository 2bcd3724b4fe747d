"""What to do about a group's login, and who still has to come over."""

from typing import Any

import pytest
from operator_values import pod
from psycopg.conninfo import make_conninfo

from robotgroups_operator.manifests.access import Credentials
from robotgroups_operator.rotation import (
    LoginAction,
    LoginStep,
    left_behind,
    login_marks,
    next_step,
    requested_rotation,
)

FIRST, SECOND, THIRD = "rg_5_16384", "rg_5_16384_2", "rg_5_16384_3"
ENSURE, RESET, WAIT = (LoginStep(action) for action in (LoginAction.ENSURE, LoginAction.RESET, LoginAction.WAIT))


def known(login: str, rotation: str | None = None) -> Credentials:
    return Credentials(make_conninfo(host="db", user=login, password="secret"), "t0ken", rotation=rotation)


def rotate(old: str) -> LoginStep:
    return LoginStep(LoginAction.ROTATE, old)


@pytest.mark.parametrize(
    ("credentials", "requested", "logins", "in_use", "step"),
    [
        # a new group, and one whose rows came back without a login
        (None, None, (None, None), False, ENSURE),
        (None, "monday", (None, None), False, ENSURE),
        (known(FIRST), None, (None, None), True, ENSURE),
        # nothing is asked, or what was asked is done
        (known(FIRST), None, (FIRST, None), True, ENSURE),
        (known(SECOND, "monday"), "monday", (SECOND, None), True, ENSURE),
        (known(SECOND, "monday"), None, (SECOND, None), True, ENSURE),
        (known(SECOND, "monday"), "monday", (SECOND, FIRST), True, ENSURE),
        # a new request
        (known(FIRST), "monday", (FIRST, None), True, rotate(FIRST)),
        (known(SECOND, "monday"), "tuesday", (SECOND, None), False, rotate(SECOND)),
        (known(SECOND, "monday"), "tuesday", (SECOND, FIRST), True, WAIT),
        # interrupted before the Secret was written, whatever is asked now
        (known(FIRST), "monday", (SECOND, FIRST), True, rotate(FIRST)),
        (known(FIRST), None, (SECOND, FIRST), True, rotate(FIRST)),
        # the Secret is lost, or an old one came back: robots that run must not be cut off
        (None, None, (FIRST, None), True, rotate(FIRST)),
        (None, None, (FIRST, None), False, RESET),
        (None, None, (SECOND, FIRST), True, RESET),
        (known(FIRST), None, (THIRD, None), True, rotate(THIRD)),
        (known(FIRST), None, (THIRD, SECOND), True, RESET),
    ],
)
def test_next_step(
    credentials: Credentials | None,
    requested: str | None,
    logins: tuple[str | None, str | None],
    in_use: bool,
    step: LoginStep,
) -> None:
    assert next_step(credentials, requested, *logins, in_use=in_use) == step


def test_what_is_requested() -> None:
    assert requested_rotation({"metadata": {}}) is None
    assert requested_rotation({"metadata": {"annotations": {"robotgroups.dev/rotate-credentials": ""}}}) is None
    assert requested_rotation({"metadata": {"annotations": {"robotgroups.dev/rotate-credentials": "now"}}}) == "now"


def test_the_first_login_marks_nothing() -> None:
    assert login_marks(None) == ()
    assert login_marks(known(FIRST)) == ()
    assert login_marks(known(SECOND)) == (("robotgroups.dev/login", "2"),)


def deployment(robot: str, login: str | None, *, observed: int = 3) -> dict[str, Any]:
    annotations = {} if login is None else {"robotgroups.dev/login": login}
    return {
        "metadata": {"generation": 3, "labels": {"robotgroups.dev/robot": robot}},
        "spec": {"template": {"metadata": {"annotations": annotations}}},
        "status": {"observedGeneration": observed},
    }


def test_robots_are_behind_until_deployment_and_pods_have_the_login() -> None:
    marks = login_marks(known(SECOND))
    deployments = [deployment("a", "2"), deployment("b", "2"), deployment("c", None), deployment("d", "2", observed=2)]
    pods = {
        "a": [pod("a", login="2"), pod("a", login="1", phase="Failed")],
        "b": [pod("b", login="2"), pod("b", login="1", deleting=True)],
        "c": [pod("c", login="1")],
        "gone": [pod("gone", login="1")],
    }
    assert left_behind(marks, deployments, pods) == ["b", "c", "d", "gone"]
    assert left_behind(marks, deployments[:1], {"a": pods["a"]}) == []
    assert left_behind(marks, [], {}) == []
