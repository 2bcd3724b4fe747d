"""The keys of a group's models: which, and what is wrong with them."""

import base64
from typing import Any

import pytest

from robotgroups_operator.api_keys import ApiKey, api_keys, key_problem
from robotgroups_operator.spec import SecretKey, parse_spec

KEY = ApiKey("embedding", SecretKey("openai", "api-key"), "https://api.openai.com/v1")


def secret(**values: bytes) -> dict[str, Any]:
    return {"data": {name.replace("_", "-"): base64.b64encode(value).decode() for name, value in values.items()}}


def test_names_the_keys_that_models_need() -> None:
    reference = {"name": "openai", "key": "api-key"}
    memory = parse_spec(
        {
            "memory": {
                "embedding": {"provider": "openai", "model": "m", "dimensions": 8, "apiKeySecretRef": reference},
                "extraction": {"provider": "openai", "model": "m", "tags": True, "apiKeySecretRef": reference},
            }
        }
    ).memory
    assert api_keys(memory) == (KEY, ApiKey("extraction", SecretKey("openai", "api-key"), "https://api.openai.com/v1"))
    assert api_keys(parse_spec({}).memory) == ()


def test_a_usable_key_is_no_problem() -> None:
    assert key_problem(KEY, secret(api_key=b"sk-123\n", other=b"x"), "shop") is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            None,
            "spec.memory.embedding.apiKeySecretRef names the Secret openai, which is not there: make it "
            "(kubectl -n shop create secret generic openai --from-file=api-key=FILE)",
        ),
        ({}, "names the key api-key, which the Secret openai lacks (it has: none): add it"),
        (secret(token=b"x", more=b"y"), "names the key api-key, which the Secret openai lacks (it has: more, token)"),
        (secret(api_key=b" \n"), "api-key of the Secret openai (spec.memory.embedding.apiKeySecretRef) is empty: put"),
        (secret(api_key=b"\xff\xfe"), "is no text that a header can carry: put the key there alone"),
        (secret(api_key=b"two\nlines"), "is no text that a header can carry: put the key there alone"),
    ],
)
def test_says_what_is_wrong_and_what_to_do(found: dict[str, Any] | None, expected: str) -> None:
    problem = key_problem(KEY, found, "shop")
    assert problem is not None
    assert problem.reason == "ApiKeyMissing"
    assert expected in problem.message
    assert "two" not in problem.message
