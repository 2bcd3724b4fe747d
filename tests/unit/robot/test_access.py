"""What the access log says at which level."""

import logging

import pytest

from robotgroups_robot.access import SLOW_S, level_of


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
