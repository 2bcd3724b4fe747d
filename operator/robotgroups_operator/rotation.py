"""The rotation of a group's login: what to do about it, and which robots still have to come over. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from robotgroups.store import login_number, login_of
from robotgroups_operator.deaths import Pods
from robotgroups_operator.manifests.access import Credentials
from robotgroups_operator.names import ANNOTATION_LOGIN, ANNOTATION_ROTATE, FIRST_LOGIN, LABEL_ROBOT


class LoginAction(StrEnum):
    """What is done about a group's login."""

    ENSURE = "ensure"
    """It is there and has the password that is known."""
    RESET = "reset"
    """It gets a new password: nobody can have the present one."""
    ROTATE = "rotate"
    """A second login is made, or the making of one that was interrupted is gone on with."""
    WAIT = "wait"
    """A rotation is asked for, and the one before is not finished."""


@dataclass(frozen=True)
class LoginStep:
    """What to do next; `old` is the login to rotate from."""

    action: LoginAction
    old: str = ""


def requested_rotation(body: Mapping[str, Any]) -> str | None:
    """What the resource's annotation says; every other text than before asks for a rotation. None: nothing is asked."""
    return (body["metadata"].get("annotations") or {}).get(ANNOTATION_ROTATE) or None


def next_step(
    known: Credentials | None, requested: str | None, login: str | None, previous: str | None, *, in_use: bool
) -> LoginStep:
    """What to do about a group that has `login` in Postgres (and `previous`, while that is being rotated).

    `known` is what the Secret says. A Secret that is lost, or of another login, leaves robots behind that run under
    the present one (`in_use`) with a password that nobody knows: a second login lets them come over.
    """
    mine = login_of(known.dsn) if known is not None else None
    if login is None:
        return LoginStep(LoginAction.ENSURE)
    if mine is not None and mine == previous:
        return LoginStep(LoginAction.ROTATE, mine)
    if known is None or mine != login:
        return LoginStep(LoginAction.ROTATE, login) if in_use and previous is None else LoginStep(LoginAction.RESET)
    if requested is None or requested == known.rotation:
        return LoginStep(LoginAction.ENSURE)
    return LoginStep(LoginAction.WAIT) if previous is not None else LoginStep(LoginAction.ROTATE, login)


def login_marks(credentials: Credentials | None) -> tuple[tuple[str, str], ...]:
    """The annotations by which pods show their login: none for a group's first, so that nothing is restarted for it."""
    number = str(login_number(login_of(credentials.dsn) or "")) if credentials is not None else FIRST_LOGIN
    return ((ANNOTATION_LOGIN, number),) if number != FIRST_LOGIN else ()


def left_behind(
    marks: tuple[tuple[str, str], ...], deployments: Iterable[Mapping[str, Any]], pods: Pods
) -> Sequence[str]:
    """The robots that run under another login than these marks say, or may start under it, by name."""
    wanted = dict(marks).get(ANNOTATION_LOGIN, FIRST_LOGIN)
    behind = {name for name, mine in pods.items() if any(pod.login != wanted and not pod.ended for pod in mine)}
    for deployment in deployments:
        annotations = deployment["spec"]["template"]["metadata"].get("annotations") or {}
        observed = int((deployment.get("status") or {}).get("observedGeneration", 0))
        if annotations.get(ANNOTATION_LOGIN, FIRST_LOGIN) != wanted or observed < deployment["metadata"]["generation"]:
            behind.add(deployment["metadata"]["labels"][LABEL_ROBOT])
    return sorted(behind)
