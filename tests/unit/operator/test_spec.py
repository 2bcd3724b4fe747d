"""The resource's spec as typed values."""

from datetime import timedelta

import pytest

from robotgroups.models import FailoverMode, GroupSettings, Retention
from robotgroups_operator.spec import GroupSpec, SpecError, Template, camel, parse_duration, parse_spec


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
            "memory": {"retention": "Delete", "language": "german"},
            "failover": {"mode": "Manual", "heartbeat": "200ms", "lease": "2s"},
            "template": {"env": [{"name": "A", "value": "1"}], "nodeSelector": {"disk": "ssd"}},
        }
    )
    assert [robot.name for robot in spec.robots] == ["a", "worker-0", "worker-1", "p"]
    assert [robot.name for robot in spec.active_robots] == ["a", "worker-0", "worker-1"]
    assert spec.active[0].template == Template(image="x", termination_grace_period_seconds=5)
    assert spec.template.env == ({"name": "A", "value": "1"},)
    assert spec.settings("uid") == GroupSettings(
        max_tokens=9,
        language="german",
        heartbeat_ms=200,
        lease_ms=2000,
        failover_mode=FailoverMode.MANUAL,
        retention=Retention.DELETE,
        suspended=True,
        resource_uid="uid",
    )


@pytest.mark.parametrize(
    "raw",
    [{"active": [{}]}, {"replicas": "many"}, {"failover": {"mode": "Never"}}, {"memory": {"retention": "Perhaps"}}],
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
