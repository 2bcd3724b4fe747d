import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from robotgroups_robot import logs
from robotgroups_robot.settings import LogFormat, LogLevel


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("dsn", "found"),
    [
        ("postgresql://u:p%40ss@db:5432/x", ["p%40ss", "p@ss"]),
        ("postgresql://u@db/x?password=abc&sslmode=require", ["abc"]),
        ("host=db user=u password=abc dbname=x", ["abc"]),
        ("host=db password='a b' dbname=x", ["a b"]),
        ("postgresql://u@db/x", []),
    ],
)
def test_passwords_of_a_dsn(dsn: str, found: list[str]) -> None:
    assert logs.passwords(dsn) == sorted(found)


def test_lines_are_json_with_the_robot_and_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogLevel.INFO, LogFormat.JSON, secrets=["s3cret", "t0ken"], group="g", robot="r")
    structlog.get_logger("ours").info("connecting", dsn="postgresql://u:s3cret@db")
    try:
        int("Bearer t0ken")
    except ValueError:
        logging.getLogger("theirs").exception("failed with %s", "s3cret")
    structlog.get_logger("ours").debug("not shown")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["event"], first["level"], first["logger"]) == ("connecting", "info", "ours")
    assert (first["group"], first["robot"], first["dsn"]) == ("g", "r", "postgresql://u:[redacted]@db")
    assert (second["event"], second["level"], second["logger"]) == ("failed with [redacted]", "error", "theirs")
    assert "'Bearer [redacted]'" in second["exception"]


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogLevel.INFO, LogFormat.CONSOLE, secrets=["s3cret"], robot="r")
    structlog.get_logger("ours").info("connecting", dsn="s3cret")
    line = capsys.readouterr().out
    assert "connecting" in line
    assert "dsn=[redacted]" in line
