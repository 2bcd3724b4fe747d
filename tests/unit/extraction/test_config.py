"""What an extraction configuration takes, and what it says of the rest."""

import json
from typing import Any

import pytest

from robotgroups.errors import ArgumentError
from robotgroups.extraction import ExtractionConfig, ExtractionProvider, extraction_config, make_extractor

OPENAI: dict[str, Any] = {"provider": "openai", "model": "gpt-4o-mini", "tags": True}


def test_none_needs_nothing_and_extracts_nothing() -> None:
    assert extraction_config() == ExtractionConfig() == ExtractionConfig.from_json({})
    assert make_extractor(ExtractionConfig()) is None


def test_openai_has_openais_own_url() -> None:
    assert extraction_config(**OPENAI) == ExtractionConfig(
        ExtractionProvider.OPENAI, "gpt-4o-mini", "https://api.openai.com/v1", True, False, 60.0
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provider": "local"}, r"unknown extraction\.provider 'local': choose one of none, openai"),
        ({"provider": "none"}, r"extraction\.provider is missing: tags and propositions need one"),
        ({"model": " "}, r"extraction\.model is missing"),
        ({"tags": False}, r"extraction\.tags and extraction\.propositions are both false"),
        ({"tags": "yes"}, r"extraction\.tags must be true or false, not 'yes'"),
        ({"propositions": 1}, r"extraction\.propositions must be true or false, not 1"),
        ({"base_url": "nowhere"}, r"extraction\.base_url must be an http:// or https:// URL"),
        ({"timeout_s": -1}, r"extraction\.timeout_s must be above 0 and at most 600 seconds, not -1"),
        ({"key": "k"}, r"unknown field extraction\.key: the fields are provider, model, base_url, tags"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        ExtractionConfig.from_json({**OPENAI, **changes})


def test_no_configuration_is_unchecked() -> None:
    with pytest.raises(ArgumentError, match=r"extraction\.base_url must be"):
        ExtractionConfig(ExtractionProvider.OPENAI, "m", tags=True)


def test_it_survives_json() -> None:
    config = extraction_config(**OPENAI, propositions=True, base_url="http://h/v1/", timeout_s=5)
    assert ExtractionConfig.from_json(json.loads(json.dumps(config.as_json()))) == config
