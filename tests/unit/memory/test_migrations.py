"""What is to be applied, decided from the ledger alone."""

import pytest

from robotgroups import migrations
from robotgroups.errors import SchemaVersionError

APPLIED = {m.version: m.sha256 for m in migrations.known()}
NAMES = [m.name for m in migrations.known()]


def names(applied: dict[int, str]) -> list[str]:
    return [m.name for m in migrations.pending(applied)]


def test_an_empty_database_gets_everything_in_order() -> None:
    assert names({}) == NAMES == sorted(NAMES)


def test_a_database_at_the_latest_version_gets_nothing() -> None:
    assert names(APPLIED) == []


@pytest.mark.parametrize("count", range(1, len(NAMES)))
def test_an_older_database_gets_the_rest(count: int) -> None:
    older = {version: digest for version, digest in APPLIED.items() if version <= count}
    assert names(older) == NAMES[count:]


def test_a_newer_database_is_refused_with_both_versions() -> None:
    newer = migrations.latest_version() + 3
    with pytest.raises(
        SchemaVersionError,
        match=rf"schema version {newer}, this library knows up to {migrations.latest_version()}: upgrade robotgroups",
    ):
        names(APPLIED | {newer: "x"})


def test_another_text_of_an_applied_file_is_refused_by_name() -> None:
    with pytest.raises(SchemaVersionError, match=f"{NAMES[1]} was applied with another text"):
        names(APPLIED | {2: "0" * 64})


def test_the_hash_is_of_the_text() -> None:
    # sha256 of "SELECT 1", by sha256sum
    assert migrations.Migration(1, "x", "SELECT 1").sha256 == (
        "e004ebd5b5532a4b85984a62f8ad48a81aa3460c1ca07701f386135d72cdecf5"
    )
