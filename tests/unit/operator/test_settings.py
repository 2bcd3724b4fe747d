"""Settings from the environment."""

from pathlib import Path

import pytest

from robotgroups_operator.main import main
from robotgroups_operator.settings import LogLevel, OperatorSettings, PullPolicy

PREFIX = "ROBOTGROUPS_OPERATOR_"


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_DSN_FILE": "/run/dsn",
        "ROBOT_IMAGE": "robot:1",
        "ROBOT_IMAGE_PULL_POLICY": "Never",
        "NAMESPACES": "a, b,",
        "LOG_LEVEL": "DEBUG",
    }.items():
        monkeypatch.setenv(PREFIX + name, value)
    settings = OperatorSettings()  # type: ignore[call-arg]
    assert settings.database_dsn_file == Path("/run/dsn")
    assert settings.robot_image_pull_policy is PullPolicy.NEVER
    assert settings.namespaces == ("a", "b")
    assert settings.log_level is LogLevel.DEBUG
    assert (settings.resync_seconds, settings.upkeep_seconds, settings.robot_local_image) == (30, 30, "")


def test_an_empty_list_of_namespaces_means_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "DATABASE_DSN_FILE", "/run/dsn")
    monkeypatch.setenv(PREFIX + "ROBOT_IMAGE", "robot:1")
    monkeypatch.setenv(PREFIX + "NAMESPACES", "")
    assert OperatorSettings().namespaces == ()  # type: ignore[call-arg]


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(PREFIX + "DATABASE_DSN_FILE", "/run/dsn")
    monkeypatch.delenv(PREFIX + "ROBOT_IMAGE", raising=False)
    monkeypatch.setenv(PREFIX + "RESYNC_SECONDS", "0")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "ROBOTGROUPS_OPERATOR_ROBOT_IMAGE: Field required",
        "ROBOTGROUPS_OPERATOR_RESYNC_SECONDS: Input should be greater than 0",
    ]
