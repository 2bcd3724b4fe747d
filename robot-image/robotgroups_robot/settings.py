"""The robot's settings: the environment that the operator gives its pod."""

import contextlib
import ipaddress
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, StringConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from robotgroups.api_keys import EMBEDDING_VARIABLE, EXTRACTION_VARIABLE, ApiKeys, read_key
from robotgroups.doorbell import DoorbellPlace
from robotgroups.errors import ArgumentError

PREFIX = "ROBOTGROUPS_"

_REMEDIES = {
    "cluster": "set it to the UID of the namespace kube-system",
    "namespace_uid": "set it to the UID of the group's namespace",
    "group": "set it to the RobotGroup's name",
    "robot": "set it to this robot's name in the RobotGroup",
    "pod_ip": "set it from the downward API (status.podIP), or to the address at which other robots reach this one",
    "port": "set it to a port number, or leave it out for 8080",
    "doorbell_port": "set it to a port number, to 0 for any, or leave it out for 8079",
    "link_port": "set it to a port number, to 0 for any, or leave it out for 8078",
    "log_level": "set it to debug, info, warning or error",
    "log_format": "set it to json or console",
    "drain_seconds": "set it to a number of seconds from 0 to 20, or leave it out for 3",
}


class SettingsError(Exception):
    """What is wrong with the environment: one line a variable, each with its remedy."""


class LogLevel(StrEnum):
    """How much the robot logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How the robot logs: JSON lines for collectors, console for people."""

    JSON = "json"
    CONSOLE = "console"


def _ip_address(value: str) -> str:
    return str(ipaddress.ip_address(value))


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=253)]


class RobotSettings(BaseSettings):
    """Every setting is one environment variable: its name in capitals after ROBOTGROUPS_."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    cluster: Name
    namespace_uid: Name
    group: Name
    robot: Name
    pod_ip: Annotated[str, AfterValidator(_ip_address)]
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    doorbell_port: Annotated[int, Field(ge=0, le=65535, description="0: any port that is free")] = 8079
    link_port: Annotated[int, Field(ge=0, le=65535, description="0: any port that is free")] = 8078
    bind: Annotated[str | None, Field(description="address to listen on; all of the pod's when it is not set")] = None
    dsn: SecretStr | None = None
    dsn_file: Path = Path("/var/run/secrets/robotgroups/dsn")
    token: SecretStr | None = None
    token_file: Path = Path("/var/run/secrets/robotgroups/token")
    # The keys of the group's models; not set: their endpoints ask for none. For: the base URLs that they are for.
    embedding_api_key: SecretStr | None = None
    embedding_api_key_file: Path | None = None
    embedding_api_key_for: str | None = None
    extraction_api_key: SecretStr | None = None
    extraction_api_key_file: Path | None = None
    extraction_api_key_for: str | None = None
    _told: list[Callable[[str], None]] = PrivateAttr(default_factory=list)
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.JSON
    # After SIGTERM: for how long requests may still come that were routed here before every node knew better.
    drain_seconds: Annotated[float, Field(ge=0, le=20)] = 3.0

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def listen_address(self) -> str:
        """The address to listen on: `bind`, else all of the pod's family (port-forward comes in by the loopback)."""
        if self.bind is not None:
            return self.bind
        return "::" if ":" in self.pod_ip else "0.0.0.0"  # noqa: S104  the pod's own network namespace

    @property
    def endpoint(self) -> str:
        """The URL at which the group's other robots reach this one."""
        host = f"[{self.pod_ip}]" if ":" in self.pod_ip else self.pod_ip
        return f"http://{host}:{self.port}"

    @property
    def doorbell(self) -> DoorbellPlace:
        """Where the robot that watches this one holds its connection."""
        return DoorbellPlace(self.listen_address, self.doorbell_port, self.pod_ip)

    @property
    def link(self) -> DoorbellPlace:
        """Where the robots that follow this one hold their links."""
        return DoorbellPlace(self.listen_address, self.link_port, self.pod_ip)

    def describe(self) -> dict[str, object]:
        """The settings for the log: secrets stay hidden."""
        return self.model_dump(mode="json", exclude={"dsn", "token", "embedding_api_key", "extraction_api_key"})

    def tell_secrets(self, told: Callable[[str], None]) -> None:
        """Call `told` with each connection string and key that is read from now on: both change while a robot lives."""
        self._told.append(told)

    def read_dsn(self) -> str:
        """The connection string of the group's login, read anew each time (it may change). Raises SettingsError."""
        dsn = _secret("DSN", self.dsn, self.dsn_file)
        self._tell(dsn)
        return dsn

    def read_token(self) -> str:
        """The bearer token that guards the API. Raises SettingsError."""
        return _secret("TOKEN", self.token, self.token_file)

    def model_secrets(self) -> list[str]:
        """The keys that can be read now, for the log to hide. What cannot be read, background work tells of."""
        found = []
        for source in (self.api_keys().embedding, self.api_keys().extraction):
            with contextlib.suppress(ArgumentError):
                found += [key.strip() for key in [source()] if key]
        return found

    def api_keys(self) -> ApiKeys:
        """The keys of the group's models, read anew each time they are asked for."""
        return ApiKeys(
            partial(self._key, EMBEDDING_VARIABLE, self.embedding_api_key, self.embedding_api_key_file),
            partial(self._key, EXTRACTION_VARIABLE, self.extraction_api_key, self.extraction_api_key_file),
            self.embedding_api_key_for,
            self.extraction_api_key_for,
        )

    def _key(self, variable: str, value: SecretStr | None, file: Path | None) -> str | None:
        if value is not None:
            return value.get_secret_value()
        if file is None:
            return None
        key = read_key(file, f"{variable}_FILE")
        self._tell(key.strip())
        return key

    def _tell(self, secret: str) -> None:
        for told in self._told:
            told(secret)


def _secret(name: str, value: SecretStr | None, file: Path) -> str:
    variable = PREFIX + name
    remedy = (
        f"mount the group's Secret, or set {variable}_FILE to a file that has it (or {variable} to the value itself)"
    )
    if value is not None:
        text = value.get_secret_value().strip()
        source = variable
    else:
        source = f"{variable}_FILE: {file}"
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
            raise SettingsError(f"{source}: {reason}; {remedy}") from error
    if not text:
        raise SettingsError(f"{source} is empty; {remedy}")
    return text


def load() -> RobotSettings:
    """Reads the environment. Raises SettingsError, which names every wrong variable and its remedy."""
    try:
        settings = RobotSettings()  # type: ignore[call-arg]  # they come from the environment
    except ValidationError as error:
        raise SettingsError("\n".join(_line(e["loc"], e["msg"]) for e in error.errors(include_input=False))) from None
    settings.read_dsn()
    settings.read_token()
    return settings


def _line(location: tuple[int | str, ...], message: str) -> str:
    field = str(location[0]) if location else ""
    remedy = _REMEDIES.get(field)
    problem = "is not set" if message == "Field required" else message
    return f"{PREFIX}{field.upper()}: {problem}" + (f"; {remedy}" if remedy else "")
