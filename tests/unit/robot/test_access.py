"""What the access log says at which level, and which answers end their connection."""

import logging

import pytest

from robotgroups_robot.access import SLOW_S, ends_connection, level_of


@pytest.mark.parametrize(
    ("path", "status", "seconds", "level"),
    [
        ("/v1/memories", 201, 0.01, logging.DEBUG),
        ("/v1/memories", 201, SLOW_S, logging.INFO),
        ("/v1/memories", 422, 0.01, logging.INFO),
        ("/v1/memories", 401, 0.01, logging.INFO),
        ("/v1/memories", 503, 0.01, logging.WARNING),
        ("/v1/memories", 500, 5.0, logging.WARNING),
        ("/v1/memories", 0, 5.0, logging.WARNING),
        ("/readyz", 200, 0.01, logging.DEBUG),
        ("/readyz", 503, 0.01, logging.DEBUG),
        ("/metrics", 200, 5.0, logging.DEBUG),
    ],
)
def test_what_failed_or_was_slow_is_logged(path: str, status: int, seconds: float, level: int) -> None:
    assert level_of(path, status, seconds) == level


@pytest.mark.parametrize(
    ("status", "draining", "ends"),
    [(201, False, False), (201, True, True), (409, False, False), (503, False, True), (503, True, True)],
)
def test_who_cannot_answer_now_ends_the_connection(status: int, draining: bool, ends: bool) -> None:
    """A client on a kept connection to a robot that is cut off would never come to another one."""
    assert ends_connection(status, draining=draining) is ends
