"""What the operator is told by its environment."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class PullPolicy(StrEnum):
    """When the kubelet pulls a robot's image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class OperatorSettings(BaseSettings):
    """Settings; each is read from the environment variable ROBOTGROUPS_OPERATOR_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="ROBOTGROUPS_OPERATOR_", frozen=True)

    database_dsn_file: Path = Field(description="File with the DSN of the operator's own login to Postgres.")
    database_ca_file: Path | None = Field(
        default=None, description="File with the certificates that Postgres' own is checked against; robots get a copy."
    )
    robot_image: str = Field(min_length=1, description="Image of robots whose template names none.")
    robot_local_image: str = Field(
        default="", description="Image of those whose group embeds by the local model; empty: there is none."
    )
    robot_image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    resync_seconds: float = Field(default=30.0, gt=0, description="How often everything is listed and compared again.")
    upkeep_seconds: float = Field(
        default=30.0, gt=0, description="How long the database's upkeep rests between rounds."
    )
    absence_seconds: float = Field(
        default=30.0, gt=0, description="After how long an active robot that is simply not there is declared failed."
    )
    status_interval_seconds: float = Field(
        default=0.25, gt=0, description="The least time between two writes of a status."
    )
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.JSON
    metrics_port: int = Field(default=8080, ge=0, le=65535)
    liveness_port: int = Field(default=8081, ge=1, le=65535)
    bind_address: str = "0.0.0.0"  # noqa: S104  a pod's probes and metrics come from outside of it
    namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Namespaces to serve, separated by commas; empty means all."
    )

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value
