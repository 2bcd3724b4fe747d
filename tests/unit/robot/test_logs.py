import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from robotgroups_robot import logs
from robotgroups_robot.settings import LogFormat, LogLevel, RobotSettings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str]) -> list[str]:
    (handler,) = logging.getLogger().handlers
    handler.flush()
    return capsys.readouterr().out.splitlines()


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
    first, second = (json.loads(line) for line in written(capsys))
    assert (first["event"], first["level"], first["logger"]) == ("connecting", "info", "ours")
    assert (first["group"], first["robot"], first["dsn"]) == ("g", "r", "postgresql://u:[redacted]@db")
    assert (second["event"], second["level"], second["logger"]) == ("failed with [redacted]", "error", "theirs")
    assert "'Bearer [redacted]'" in second["exception"]


def test_secrets_that_have_changed_since_the_start_are_on_no_line_either(
    capsys: pytest.CaptureFixture[str], settings: RobotSettings, tmp_path: Path
) -> None:
    key, dsn = tmp_path / "key", tmp_path / "dsn"
    key.write_text("sk-first\n")
    dsn.write_text("postgresql://u:first-p@db/x")
    robot = settings.model_copy(update={"dsn": None, "dsn_file": dsn, "extraction_api_key_file": key})
    redact = logs.configure(LogLevel.INFO, LogFormat.JSON, secrets=robot.model_secrets())
    robot.tell_secrets(redact.hide_in)
    key.write_text("sk-second\n")
    dsn.write_text("postgresql://u:second-p@db/x")
    assert robot.api_keys().extraction() == "sk-second\n"
    assert robot.read_dsn().endswith("@db/x")
    structlog.get_logger("ours").info("tried", with_key="sk-first and sk-second", dsn="password=second-p")
    (line,) = written(capsys)
    assert json.loads(line)["with_key"] == "[redacted] and [redacted]"
    assert json.loads(line)["dsn"] == "password=[redacted]"


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogLevel.INFO, LogFormat.CONSOLE, secrets=["s3cret"], robot="r")
    structlog.get_logger("ours").info("connecting", dsn="s3cret")
    (line,) = written(capsys)
    assert "connecting" in line
    assert "dsn=[redacted]" in line


def test_a_reader_that_is_stuck_stops_nobody_and_is_told_what_it_missed() -> None:
    sent = 5000
    reading, writing = os.pipe()  # holds 64 KiB
    read: list[str] = []
    with os.fdopen(reading) as reader:
        late = threading.Thread(target=lambda: read.extend(reader))
        with os.fdopen(writing, "w") as stream:
            lines = logs.Lines(logging.StreamHandler(stream), waiting=10)
            for number in range(sent):  # nobody reads meanwhile
                lines.handle(logging.makeLogRecord({"msg": f"{number} {'x' * 100}"}))
            late.start()
            lines.flush()
            lines.handle(logging.makeLogRecord({"msg": "the end"}))
            lines.close()
        late.join()
    assert read[-1] == "the end\n"
    told = [int(line.split()[0]) for line in read if line.endswith(" log lines were lost\n")]
    kept = [int(line.split()[0]) for line in read if line.endswith("x\n")]
    assert kept == sorted(set(kept))
    assert len(kept) + sum(told) == sent
    assert sum(told) > sent / 2


def test_the_last_lines_are_written_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogLevel.INFO, LogFormat.JSON, robot="r")
    for number in range(1000):
        structlog.get_logger("ours").info("line", number=number)
    (handler,) = logging.getLogger().handlers
    handler.close()
    assert [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()] == list(range(1000))
