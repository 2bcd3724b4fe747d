import os
from pathlib import Path

import pytest

from robotgroups.errors import ArgumentError
from robotgroups_robot import settings
from robotgroups_robot.settings import LogFormat, LogLevel, RobotSettings, SettingsError

GOOD = {
    "CLUSTER": "c1",
    "NAMESPACE_UID": "n1",
    "GROUP": "support",
    "ROBOT": "primary",
    "POD_IP": "10.1.2.3",
    "DSN": "postgresql://u:p@db/x",
    "TOKEN": "t0ken",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith("ROBOTGROUPS_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(f"ROBOTGROUPS_{name}", value)
    return monkeypatch


def test_the_contracts_environment_is_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ROBOTGROUPS_LOG_LEVEL", "DEBUG")
    environment.setenv("ROBOTGROUPS_LOG_FORMAT", "console")
    loaded = settings.load()
    assert (loaded.cluster, loaded.namespace_uid, loaded.group, loaded.robot) == ("c1", "n1", "support", "primary")
    assert (loaded.endpoint, loaded.listen_address) == ("http://10.1.2.3:8080", "0.0.0.0")
    assert (loaded.log_level, loaded.log_format) == (LogLevel.DEBUG, LogFormat.CONSOLE)
    assert (loaded.read_dsn(), loaded.read_token()) == ("postgresql://u:p@db/x", "t0ken")


def test_an_ipv6_pod_listens_on_its_family_and_is_reached_in_brackets(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ROBOTGROUPS_POD_IP", "fd00::1")
    loaded = settings.load()
    assert (loaded.endpoint, loaded.listen_address) == ("http://[fd00::1]:8080", "::")


@pytest.mark.parametrize("name", ["CLUSTER", "NAMESPACE_UID", "GROUP", "ROBOT", "POD_IP"])
def test_a_missing_variable_is_named_with_its_remedy(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(f"ROBOTGROUPS_{name}")
    with pytest.raises(SettingsError, match=f"^ROBOTGROUPS_{name}: is not set; set it "):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("POD_IP", "no address"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("DRAIN_SECONDS", "-1"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(f"ROBOTGROUPS_{name}", value)
    with pytest.raises(SettingsError, match=f"^ROBOTGROUPS_{name}: .*; set it "):
        settings.load()


def test_every_wrong_variable_is_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("ROBOTGROUPS_GROUP")
    environment.setenv("ROBOTGROUPS_PORT", "0")
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert sorted(line.split(":")[0] for line in str(caught.value).splitlines()) == [
        "ROBOTGROUPS_GROUP",
        "ROBOTGROUPS_PORT",
    ]


def test_secrets_come_from_files_read_anew(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("ROBOTGROUPS_DSN")
    file = tmp_path / "dsn"
    file.write_text("postgresql://first\n")
    environment.setenv("ROBOTGROUPS_DSN_FILE", str(file))
    loaded = settings.load()
    assert loaded.read_dsn() == "postgresql://first"
    file.write_text("postgresql://second\n")
    assert loaded.read_dsn() == "postgresql://second"


@pytest.mark.parametrize("name", ["DSN", "TOKEN"])
def test_a_missing_secret_names_file_and_variable(environment: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    environment.delenv(f"ROBOTGROUPS_{name}")
    file = tmp_path / "absent"
    environment.setenv(f"ROBOTGROUPS_{name}_FILE", str(file))
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert str(caught.value) == (
        f"ROBOTGROUPS_{name}_FILE: {file}: No such file or directory; mount the group's Secret, or set "
        f"ROBOTGROUPS_{name}_FILE to a file that has it (or ROBOTGROUPS_{name} to the value itself)"
    )


def test_an_empty_secret_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("ROBOTGROUPS_TOKEN")
    (tmp_path / "token").write_text(" \n")
    environment.setenv("ROBOTGROUPS_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(SettingsError, match=f"^ROBOTGROUPS_TOKEN_FILE: {tmp_path}/token is empty; mount"):
        settings.load()


def test_what_is_logged_of_the_settings_has_no_secret(settings: RobotSettings) -> None:
    told = str(settings.describe()) + repr(settings)
    assert "s3cret" not in told
    assert "correct-horse" not in told


def test_the_keys_of_models_come_from_the_environment_or_from_files_read_anew(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = settings.load().api_keys()
    assert (keys.embedding(), keys.extraction()) == (None, None)
    assert (keys.embedding_for, keys.extraction_for) == (None, None)
    file = tmp_path / "key"
    environment.setenv("ROBOTGROUPS_EMBEDDING_API_KEY_FOR", "https://models.example/v1")
    environment.setenv("ROBOTGROUPS_EXTRACTION_API_KEY_FOR", "https://api.openai.com/v1")
    environment.setenv("ROBOTGROUPS_EMBEDDING_API_KEY_FILE", str(file))
    environment.setenv("ROBOTGROUPS_EXTRACTION_API_KEY", "correct-horse")
    loaded = settings.load()
    keys = loaded.api_keys()
    assert (keys.embedding_for, keys.extraction_for) == ("https://models.example/v1", "https://api.openai.com/v1")
    # a robot starts without it: its memory is there all the same
    with pytest.raises(ArgumentError, match=f"^ROBOTGROUPS_EMBEDDING_API_KEY_FILE: {file}: No such file or directory"):
        keys.embedding()
    assert loaded.model_secrets() == ["correct-horse"]
    for key in ("first", "second"):
        file.write_text(f"{key}\n")
        assert (keys.embedding(), keys.extraction()) == (f"{key}\n", "correct-horse")
        assert loaded.model_secrets() == [key, "correct-horse"]
    assert "correct-horse" not in str(loaded.describe()) + repr(loaded)
