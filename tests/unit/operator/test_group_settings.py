"""What Postgres is told of a group's spec."""

import pytest

from robotgroups.embedding import EmbeddingConfig
from robotgroups.extraction import ExtractionConfig
from robotgroups.models import Eviction, Failback, FailoverMode, GroupSettings, Retention
from robotgroups_operator.group_settings import NO_MODEL, Told, group_settings
from robotgroups_operator.observation import Problem
from robotgroups_operator.spec import parse_spec


def test_tells_everything() -> None:
    spec = parse_spec(
        {
            "maxTokens": 9,
            "suspend": True,
            "memory": {
                "space": "shared",
                "retention": "Delete",
                "language": "german",
                "eviction": "fifo",
                "expiry": {"after": "2h", "keep": 7},
            },
            "failover": {
                "mode": "Manual",
                "heartbeat": "200ms",
                "lease": "2s",
                "delay": "5s",
                "cooldown": "1m",
                "failback": "Preferred",
            },
        }
    )
    assert group_settings(spec, "uid") == Told(
        GroupSettings(
            max_tokens=9,
            language="german",
            heartbeat_ms=200,
            lease_ms=2000,
            failover_mode=FailoverMode.MANUAL,
            failover_delay_ms=5000,
            failover_cooldown_ms=60_000,
            failback=Failback.PREFERRED,
            retention=Retention.DELETE,
            suspended=True,
            resource_uid="uid",
            space="shared",
            eviction=Eviction.FIFO,
            expire_after_s=7200,
            keep_memories=7,
            embedding=NO_MODEL,
            extraction=NO_MODEL,
        )
    )


@pytest.mark.parametrize(
    ("embedding", "expected"),
    [
        ({}, {"provider": "none"}),
        ({"provider": "none"}, {"provider": "none"}),
        ({"provider": "local"}, {"provider": "local", "model": "all-MiniLM-L6-v2", "dimensions": 384, "base_url": ""}),
        (
            {"provider": "openai", "model": "text-embedding-3-small", "dimensions": 1536},
            {
                "provider": "openai",
                "model": "text-embedding-3-small",
                "dimensions": 1536,
                "base_url": "https://api.openai.com/v1",
            },
        ),
        (
            {"provider": "openai", "model": "bge-m3", "dimensions": 1024, "baseURL": "http://ollama:11434/v1/"},
            {"provider": "openai", "model": "bge-m3", "dimensions": 1024, "base_url": "http://ollama:11434/v1"},
        ),
    ],
)
def test_tells_the_embedding_as_the_library_reads_it(embedding: dict[str, object], expected: dict[str, object]) -> None:
    told = group_settings(parse_spec({"memory": {"embedding": embedding}}), "uid")
    assert told.problems == ()
    json = told.settings.embedding
    assert json is not None
    assert {name: json[name] for name in expected} == expected
    config = EmbeddingConfig.from_json(json)
    assert json in (config.as_json(), NO_MODEL)


def test_tells_no_key() -> None:
    key = {"name": "hush", "key": "quiet"}
    embedding = {"provider": "openai", "model": "m", "dimensions": 8, "apiKeySecretRef": key}
    extraction = {"provider": "openai", "model": "m", "propositions": True, "apiKeySecretRef": key}
    told = group_settings(parse_spec({"memory": {"embedding": embedding, "extraction": extraction}}), "uid")
    assert told.settings.embedding == EmbeddingConfig.from_json(told.settings.embedding or {}).as_json()
    assert told.settings.extraction == ExtractionConfig.from_json(told.settings.extraction or {}).as_json()
    assert "hush" not in str(told)
    assert "quiet" not in str(told)


def test_what_the_library_refuses_keeps_its_value_and_is_told() -> None:
    bad = {"provider": "openai", "model": "m", "dimensions": 8, "baseURL": "http://host:port"}
    told = group_settings(parse_spec({"maxTokens": 9, "memory": {"embedding": bad}}), "uid")
    assert (told.settings.max_tokens, told.settings.embedding, told.settings.extraction) == (9, None, NO_MODEL)
    message = "spec.memory.embedding cannot be used: embedding.base_url is no URL: write it as https://host/v1"
    assert told.problems == (Problem("SettingsRefused", message),)
