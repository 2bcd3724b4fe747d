"""Where the keys of models come from."""

from pathlib import Path

import pytest

from robotgroups.api_keys import EMBEDDING_VARIABLE, EXTRACTION_VARIABLE, ApiKeys, key_from
from robotgroups.errors import ArgumentError


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (EMBEDDING_VARIABLE, EXTRACTION_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(f"{variable}_FILE", raising=False)
        monkeypatch.delenv(f"{variable}_FOR", raising=False)


def test_what_is_given_counts_and_the_environment_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EMBEDDING_VARIABLE, "from-the-environment")
    monkeypatch.setenv(EXTRACTION_VARIABLE, "from-there-too")
    keys = ApiKeys.of("given")
    assert (keys.embedding(), keys.extraction()) == ("given", "from-there-too")
    monkeypatch.setenv(EXTRACTION_VARIABLE, "changed")
    assert keys.extraction() == "changed"
    assert ApiKeys.of("").embedding() == ""  # none, whatever the environment has


def test_what_a_key_is_for_comes_from_where_the_key_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{EMBEDDING_VARIABLE}_FOR", "https://models.example/v1")
    monkeypatch.setenv(f"{EXTRACTION_VARIABLE}_FOR", "")
    keys = ApiKeys.of()
    assert (keys.embedding_for, keys.extraction_for) == ("https://models.example/v1", None)
    keys = ApiKeys.of("given", "given", embedding_for="https://api.openai.com/v1")
    assert (keys.embedding_for, keys.extraction_for) == ("https://api.openai.com/v1", None)
    # of a key of the environment what is said beside the settings says nothing
    assert ApiKeys.of(embedding_for="https://api.openai.com/v1").embedding_for == "https://models.example/v1"


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "key"
    environment = {f"{EMBEDDING_VARIABLE}_FILE": str(file)}
    for key in ("first", "second"):
        file.write_text(key)
        assert key_from(environment, EMBEDDING_VARIABLE) == key
    assert key_from({**environment, EMBEDDING_VARIABLE: "plain"}, EMBEDDING_VARIABLE) == "plain"


def test_no_key_is_none() -> None:
    assert key_from({}, EMBEDDING_VARIABLE) is None
    assert key_from({EMBEDDING_VARIABLE: "", f"{EMBEDDING_VARIABLE}_FILE": ""}, EMBEDDING_VARIABLE) is None


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file or directory"), (b"\xff\xfe", "no UTF-8 text")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ArgumentError) as caught:
        key_from({f"{EMBEDDING_VARIABLE}_FILE": str(file)}, EMBEDDING_VARIABLE)
    assert str(caught.value) == f"{EMBEDDING_VARIABLE}_FILE: {file}: {reason}; mount the Secret with the key there"
