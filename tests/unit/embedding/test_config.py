"""What an embedding configuration takes, and what it says of the rest."""

import json
from typing import Any

import pytest

from robotgroups.embedding import EmbeddingConfig, EmbeddingProvider, embedding_config
from robotgroups.errors import ArgumentError

OPENAI: dict[str, Any] = {"provider": "openai", "model": "text-embedding-3-small", "dimensions": 1536}


def test_none_needs_nothing() -> None:
    assert embedding_config() == EmbeddingConfig() == EmbeddingConfig.from_json({})
    assert EmbeddingConfig().vector_space == ""


def test_openai_has_openais_own_url() -> None:
    config = embedding_config(**OPENAI)
    assert config == EmbeddingConfig(
        EmbeddingProvider.OPENAI, "text-embedding-3-small", 1536, "https://api.openai.com/v1", 64, 30.0, 8191
    )
    assert config.vector_space == "openai/text-embedding-3-small/1536"


def test_local_knows_its_model() -> None:
    config = embedding_config("local")
    assert (config.model, config.dimensions) == ("all-MiniLM-L6-v2", 384)
    assert config.vector_space == "local/all-MiniLM-L6-v2/384"


@pytest.mark.parametrize("url", ["http://ollama:11434/v1", "https://[::1]:8000/openai/v1", "http://127.0.0.1:1"])
def test_a_base_url_is_kept_without_its_last_slash(url: str) -> None:
    assert embedding_config(**OPENAI, base_url=url + "/").base_url == url


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provider": "cohere"}, r"unknown embedding\.provider 'cohere': choose one of none, openai, local"),
        ({"provider": ["openai"]}, r"unknown embedding\.provider \['openai'\]"),
        ({"model": ""}, r"embedding\.model is missing: .* text-embedding-3-small"),
        ({"model": "  "}, r"embedding\.model is missing"),
        ({"model": 3}, r"embedding\.model must be text, not 3"),
        ({"model": "m" * 3000}, r"embedding\.model has 3000 characters; at most 2048"),
        ({"dimensions": 0}, r"embedding\.dimensions is missing: .* 1\.\.16000"),
        ({"dimensions": 16001}, r"embedding\.dimensions must be a whole number, 0\.\.16000, not 16001"),
        ({"dimensions": -1}, r"embedding\.dimensions must be .* not -1"),
        ({"dimensions": 3.5}, r"embedding\.dimensions must be .* not 3\.5"),
        ({"dimensions": True}, r"embedding\.dimensions must be .* not True"),
        ({"base_url": "ftp://host/v1"}, r"embedding\.base_url must be an http:// or https:// URL .* 'ftp://host/v1'"),
        ({"base_url": "host:80"}, r"embedding\.base_url must be an http:// or https:// URL"),
        ({"base_url": "https://"}, r"embedding\.base_url must be an http:// or https:// URL"),
        ({"base_url": "http://host:port"}, r"embedding\.base_url is no URL"),
        ({"base_url": 5}, r"embedding\.base_url must be text, not 5"),
        ({"batch_size": 0}, r"embedding\.batch_size must be a whole number, 1\.\.2048, not 0"),
        ({"timeout_s": 0}, r"embedding\.timeout_s must be above 0 and at most 600 seconds, not 0"),
        ({"timeout_s": float("nan")}, r"embedding\.timeout_s .* not nan"),
        ({"timeout_s": "30"}, r"embedding\.timeout_s .* not '30'"),
        ({"max_input_tokens": -1}, r"embedding\.max_input_tokens must be a whole number, 0 or more, not -1"),
        ({"api_key": "sk-secret"}, r"unknown field embedding\.api_key: the fields are provider, model"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        EmbeddingConfig.from_json({**OPENAI, **changes})


@pytest.mark.parametrize("url", ["http://user:s3cret@host/v1", "http://host/v1?key=s3cret", "http://host/v1#s3cret"])
def test_a_url_with_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ArgumentError, match=r"^embedding\.base_url must ") as caught:
        embedding_config(**OPENAI, base_url=url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bge-m3"}, r"unknown embedding\.model 'bge-m3' of provider local: write all-MiniLM-L6-v2"),
        ({"dimensions": 768}, r"embedding\.dimensions of provider local is 384, not 768"),
        ({"base_url": "http://host"}, r"embedding\.base_url is for provider openai"),
    ],
)
def test_local_refuses_what_it_cannot_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        embedding_config("local", **changes)


def test_no_configuration_is_unchecked() -> None:
    with pytest.raises(ArgumentError, match=r"embedding\.model is missing"):
        EmbeddingConfig(EmbeddingProvider.OPENAI)


@pytest.mark.parametrize(
    "config",
    [
        EmbeddingConfig(),
        embedding_config("local", batch_size=8),
        embedding_config(**OPENAI, base_url="http://h/v1", timeout_s=2.5, max_input_tokens=0),
    ],
)
def test_it_survives_json(config: EmbeddingConfig) -> None:
    assert EmbeddingConfig.from_json(json.loads(json.dumps(config.as_json()))) == config
