"""The resource's spec as typed values."""

from datetime import timedelta

import pytest

from robotgroups.embedding import EmbeddingProvider
from robotgroups.extraction import ExtractionProvider
from robotgroups.models import Eviction, Failback, FailoverMode, Retention
from robotgroups_operator.spec import (
    Embedding,
    Expiry,
    Extraction,
    Failover,
    GroupSpec,
    Memory,
    SecretKey,
    SpecError,
    Template,
    camel,
    parse_age,
    parse_duration,
    parse_spec,
    parse_wait,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", timedelta(milliseconds=500)), ("3s", timedelta(seconds=3)), ("1m", timedelta(minutes=1))],
)
def test_reads_durations(text: str, expected: timedelta) -> None:
    assert parse_duration(text, "spec.failover.lease") == expected


@pytest.mark.parametrize("text", ["", "0s", "3", "1h", "1.5s", " 3s", "-3s"])
def test_refuses_other_durations_and_names_the_field(text: str) -> None:
    with pytest.raises(SpecError, match=r"spec\.failover\.lease is .*: write a whole number and a unit"):
        parse_duration(text, "spec.failover.lease")


@pytest.mark.parametrize(
    ("text", "expected"), [("0s", timedelta(0)), ("0ms", timedelta(0)), ("60m", timedelta(hours=1))]
)
def test_reads_waits(text: str, expected: timedelta) -> None:
    assert parse_wait(text, "spec.failover.delay") == expected


@pytest.mark.parametrize("text", ["", "0", "00s", "1h", "1.5s", "-3s"])
def test_refuses_other_waits_and_names_the_field(text: str) -> None:
    with pytest.raises(SpecError, match=r"spec\.failover\.delay is .*: write a whole number and a unit, as 0s"):
        parse_wait(text, "spec.failover.delay")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", timedelta(seconds=1)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("999999d", timedelta(days=999999)),
    ],
)
def test_reads_ages(text: str, expected: timedelta) -> None:
    assert parse_age(text, "spec.memory.expiry.after") == expected


@pytest.mark.parametrize("text", ["", "0d", "3", "500ms", "1.5h", "90 d", "-3d", "1w", "1000000d"])
def test_refuses_other_ages_and_names_the_field(text: str) -> None:
    with pytest.raises(SpecError, match=r"spec\.memory\.expiry\.after is .*: write a whole number and a unit"):
        parse_age(text, "spec.memory.expiry.after")


def test_an_empty_spec_has_the_defaults() -> None:
    assert parse_spec({}) == GroupSpec()


def test_reads_everything() -> None:
    spec = parse_spec(
        {
            "active": [{"name": "a", "template": {"image": "x", "terminationGracePeriodSeconds": 5}}],
            "passive": [{"name": "p"}],
            "replicas": 2,
            "maxTokens": 9,
            "suspend": True,
            "memory": {
                "space": "shared",
                "retention": "Delete",
                "expiry": {"after": "90d", "keep": 1000},
                "eviction": "lru",
                "language": "german",
                "embedding": {
                    "provider": "openai",
                    "model": "bge-m3",
                    "dimensions": 1024,
                    "baseURL": "http://ollama:11434/v1",
                    "apiKeySecretRef": {"name": "llm", "key": "token"},
                },
                "extraction": {"provider": "openai", "model": "qwen", "tags": True},
            },
            "failover": {
                "mode": "Automatic",
                "heartbeat": "200ms",
                "lease": "2s",
                "delay": "5s",
                "cooldown": "1m",
                "failback": "Preferred",
            },
            "template": {"env": [{"name": "A", "value": "1"}], "nodeSelector": {"disk": "ssd"}},
        }
    )
    assert [robot.name for robot in spec.robots] == ["a", "worker-0", "worker-1", "p"]
    assert [robot.name for robot in spec.active_robots] == ["a", "worker-0", "worker-1"]
    assert spec.active[0].template == Template(image="x", termination_grace_period_seconds=5)
    assert spec.template.env == ({"name": "A", "value": "1"},)
    assert (spec.max_tokens, spec.suspend) == (9, True)
    assert spec.failover == Failover(
        FailoverMode.AUTOMATIC,
        timedelta(milliseconds=200),
        timedelta(seconds=2),
        timedelta(seconds=5),
        timedelta(minutes=1),
        Failback.PREFERRED,
    )
    assert spec.memory == Memory(
        space="shared",
        retention=Retention.DELETE,
        expiry=Expiry(timedelta(days=90), 1000),
        eviction=Eviction.LRU,
        language="german",
        embedding=Embedding(
            EmbeddingProvider.OPENAI, "bge-m3", 1024, "http://ollama:11434/v1", SecretKey("llm", "token")
        ),
        extraction=Extraction(ExtractionProvider.OPENAI, "qwen", tags=True),
    )


@pytest.mark.parametrize(
    "raw",
    [
        {"active": [{}]},
        {"replicas": "many"},
        {"failover": {"mode": "Never"}},
        {"failover": {"failback": "Always"}},
        {"memory": {"retention": "Perhaps"}},
        {"memory": {"eviction": "random"}},
        {"memory": {"embedding": {"provider": "cohere"}}},
        {"memory": {"embedding": {"apiKeySecretRef": {"name": "llm"}}}},
    ],
)
def test_what_the_schema_refuses_is_an_error_of_its_own(raw: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="spec cannot be read"):
        parse_spec(raw)


def test_a_robots_template_overrides_field_by_field() -> None:
    base = Template(
        image="base",
        image_pull_policy="Always",
        labels={"a": "1", "b": "1"},
        env=({"name": "X", "value": "1"}, {"name": "Y", "value": "1"}),
        resources={"limits": {"cpu": "1"}},
    )
    over = Template(
        image="over",
        labels={"b": "2"},
        env=({"name": "Z", "value": "2"}, {"name": "X", "value": "2"}),
        resources={"requests": {"cpu": "2"}},
    )
    assert base.overridden_by(over) == Template(
        image="over",
        image_pull_policy="Always",
        labels={"a": "1", "b": "2"},
        env=({"name": "X", "value": "2"}, {"name": "Y", "value": "1"}, {"name": "Z", "value": "2"}),
        resources={"requests": {"cpu": "2"}},
    )


def test_names_are_camel_case() -> None:
    assert camel("termination_grace_period_seconds") == "terminationGracePeriodSeconds"
    assert camel("base_url") == "baseURL"
