"""A RobotGroup's spec as typed values: field by field the schema of crds/robotgroups.yaml (a test compares the two).

What Kubernetes itself defines (resources, env, tolerations, affinity, containers, volumes) passes through as JSON.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from robotgroups.embedding import EmbeddingProvider
from robotgroups.extraction import ExtractionProvider
from robotgroups.models import Eviction, Failback, FailoverMode, Retention
from robotgroups_operator.names import worker_name

JsonObject = Mapping[str, Any]

_DURATION = re.compile(r"([1-9][0-9]{0,5})(ms|s|m)")
_WAIT = re.compile(r"(0|[1-9][0-9]{0,5})(ms|s|m)")
_AGE = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


class SpecError(Exception):
    """A field of the resource has a value that the schema should have refused; the message names it and the remedy."""


def parse_duration(text: str, name: str) -> timedelta:
    """Parses `500ms`, `3s` or `1m`; raises SpecError, naming the field."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise SpecError(f"{name} is {text!r}: write a whole number and a unit, as 500ms, 3s or 1m")
    return int(match[1]) * _UNITS[match[2]]


def parse_wait(text: str, name: str) -> timedelta:
    """Parses `0s`, `500ms`, `30s` or `5m`; raises SpecError, naming the field."""
    match = _WAIT.fullmatch(text)
    if match is None:
        raise SpecError(f"{name} is {text!r}: write a whole number and a unit, as 0s, 500ms, 30s or 5m")
    return int(match[1]) * _UNITS[match[2]]


def parse_age(text: str, name: str) -> timedelta:
    """Parses `30s`, `30m`, `12h` or `90d`; raises SpecError, naming the field."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise SpecError(f"{name} is {text!r}: write a whole number and a unit, as 30m, 12h or 90d")
    return int(match[1]) * _UNITS[match[2]]


def milliseconds(duration: timedelta) -> int:
    """A duration in whole milliseconds."""
    return duration // timedelta(milliseconds=1)


@dataclass(frozen=True)
class Template:
    """How a robot's pod is made; None means: not said here."""

    image: str | None = None
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[JsonObject, ...] | None = None
    resources: JsonObject | None = None
    env: tuple[JsonObject, ...] | None = None
    node_selector: Mapping[str, str] | None = None
    tolerations: tuple[JsonObject, ...] | None = None
    affinity: JsonObject | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    priority_class_name: str | None = None
    termination_grace_period_seconds: int | None = None
    extra_containers: tuple[JsonObject, ...] | None = None
    volumes: tuple[JsonObject, ...] | None = None

    def overridden_by(self, other: "Template") -> "Template":
        """This template with another one on top: maps by key, env by name, everything else whole."""
        values: dict[str, Any] = {}
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if theirs is None or mine is None:
                values[f.name] = mine if theirs is None else theirs
            elif f.name in ("node_selector", "labels", "annotations"):
                values[f.name] = {**mine, **theirs}
            elif f.name == "env":
                values[f.name] = merge_by_name(mine, theirs)
            else:
                values[f.name] = theirs
        return Template(**values)


def merge_by_name(base: tuple[JsonObject, ...], over: tuple[JsonObject, ...]) -> tuple[JsonObject, ...]:
    """Entries of `base` in their order, replaced by those of the same name in `over`; then what only `over` has."""
    replacing = {entry["name"]: entry for entry in over}
    known = {entry["name"] for entry in base}
    kept = tuple(replacing.get(entry["name"], entry) for entry in base)
    return kept + tuple(entry for entry in over if entry["name"] not in known)


@dataclass(frozen=True)
class Robot:
    """A robot that the resource names."""

    name: str
    template: Template = field(default_factory=Template)


@dataclass(frozen=True)
class SecretKey:
    """A key of a Secret in the group's namespace."""

    name: str
    key: str


@dataclass(frozen=True)
class Embedding:
    """How memories are embedded."""

    provider: EmbeddingProvider = EmbeddingProvider.NONE
    model: str | None = None
    dimensions: int | None = None
    base_url: str | None = None
    api_key_secret_ref: SecretKey | None = None


@dataclass(frozen=True)
class Extraction:
    """What is extracted from memories."""

    provider: ExtractionProvider = ExtractionProvider.NONE
    model: str | None = None
    base_url: str | None = None
    api_key_secret_ref: SecretKey | None = None
    tags: bool = False
    propositions: bool = False


@dataclass(frozen=True)
class Expiry:
    """When memories are removed."""

    after: timedelta | None = None
    keep: int | None = None


@dataclass(frozen=True)
class Memory:
    """How the group remembers."""

    space: str | None = None
    retention: Retention = Retention.RETAIN
    expiry: Expiry = field(default_factory=Expiry)
    eviction: Eviction = Eviction.BALANCED
    language: str = "english"
    tokenizer: str = "cl100k_base"
    embedding: Embedding = field(default_factory=Embedding)
    extraction: Extraction = field(default_factory=Extraction)


@dataclass(frozen=True)
class Failover:
    """How the death of a robot is noticed and answered."""

    mode: FailoverMode = FailoverMode.AUTOMATIC
    heartbeat: timedelta = timedelta(milliseconds=500)
    lease: timedelta = timedelta(seconds=3)
    delay: timedelta = timedelta(0)
    cooldown: timedelta = timedelta(seconds=30)
    failback: Failback = Failback.NEVER


@dataclass(frozen=True)
class GroupSpec:
    """What the group is to be."""

    active: tuple[Robot, ...] = ()
    passive: tuple[Robot, ...] = ()
    replicas: int = 0
    max_tokens: int = 4000
    suspend: bool = False
    memory: Memory = field(default_factory=Memory)
    failover: Failover = field(default_factory=Failover)
    template: Template = field(default_factory=Template)

    @property
    def generated(self) -> tuple[Robot, ...]:
        """The robots that `replicas` stands for."""
        return tuple(Robot(worker_name(index)) for index in range(self.replicas))

    @property
    def active_robots(self) -> tuple[Robot, ...]:
        """Every robot that is to be active: named, then generated."""
        return self.active + self.generated

    @property
    def robots(self) -> tuple[Robot, ...]:
        """Every robot of the group, actives first."""
        return self.active_robots + self.passive


def camel(name: str) -> str:
    """The resource's name of a Python field: max_tokens -> maxTokens, base_url -> baseURL."""
    head, *rest = name.split("_")
    return head + "".join("URL" if part == "url" else part.capitalize() for part in rest)


def parse_template(raw: JsonObject | None) -> Template:
    """Parses a robot's or a group's template; lists become tuples."""
    values: dict[str, Any] = {f.name: (raw or {}).get(camel(f.name)) for f in fields(Template)}
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    return Template(**values)


def _parse_robots(raw: object) -> tuple[Robot, ...]:
    if not isinstance(raw, list):
        return ()
    return tuple(Robot(entry["name"], parse_template(entry.get("template"))) for entry in raw)


def _parse_key(raw: JsonObject | None) -> SecretKey | None:
    return SecretKey(raw["name"], raw["key"]) if raw else None


def _parse_memory(raw: JsonObject) -> Memory:
    default = Memory()
    embedding, extraction, expiry = (raw.get(name) or {} for name in ("embedding", "extraction", "expiry"))
    return Memory(
        space=raw.get("space"),
        retention=Retention(raw.get("retention", default.retention)),
        expiry=Expiry(
            after=parse_age(expiry["after"], "spec.memory.expiry.after") if "after" in expiry else None,
            keep=expiry.get("keep"),
        ),
        eviction=Eviction(raw.get("eviction", default.eviction)),
        language=raw.get("language", default.language),
        tokenizer=raw.get("tokenizer", default.tokenizer),
        embedding=Embedding(
            provider=EmbeddingProvider(embedding.get("provider", default.embedding.provider)),
            model=embedding.get("model"),
            dimensions=embedding.get("dimensions"),
            base_url=embedding.get("baseURL"),
            api_key_secret_ref=_parse_key(embedding.get("apiKeySecretRef")),
        ),
        extraction=Extraction(
            provider=ExtractionProvider(extraction.get("provider", default.extraction.provider)),
            model=extraction.get("model"),
            base_url=extraction.get("baseURL"),
            api_key_secret_ref=_parse_key(extraction.get("apiKeySecretRef")),
            tags=bool(extraction.get("tags", default.extraction.tags)),
            propositions=bool(extraction.get("propositions", default.extraction.propositions)),
        ),
    )


def _parse_failover(raw: JsonObject) -> Failover:
    default = Failover()
    return Failover(
        mode=FailoverMode(raw.get("mode", default.mode)),
        heartbeat=parse_duration(raw.get("heartbeat", "500ms"), "spec.failover.heartbeat"),
        lease=parse_duration(raw.get("lease", "3s"), "spec.failover.lease"),
        delay=parse_wait(raw.get("delay", "0s"), "spec.failover.delay"),
        cooldown=parse_wait(raw.get("cooldown", "30s"), "spec.failover.cooldown"),
        failback=Failback(raw.get("failback", default.failback)),
    )


def parse_spec(raw: JsonObject) -> GroupSpec:
    """Parses `spec` of a RobotGroup; raises SpecError for what the schema does not let through either."""
    default = GroupSpec()
    try:
        return GroupSpec(
            active=_parse_robots(raw.get("active")),
            passive=_parse_robots(raw.get("passive")),
            replicas=int(raw.get("replicas", default.replicas)),
            max_tokens=int(raw.get("maxTokens", default.max_tokens)),
            suspend=bool(raw.get("suspend", default.suspend)),
            memory=_parse_memory(raw.get("memory") or {}),
            failover=_parse_failover(raw.get("failover") or {}),
            template=parse_template(raw.get("template")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"spec cannot be read ({error}): apply the resource again") from error
