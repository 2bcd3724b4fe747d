"""What `check` finds can be repaired as its remedy says: after it, nothing is found."""

from typing import Any

import pytest

from robotgroups.check import Finding, Invariant, all_checks, check
from robotgroups.remedies import remedy_of

from .conftest import Group
from .test_check import break_, damage, names

__all__ = ["names"]
pytestmark = pytest.mark.anyio


def remedy_for(name: str) -> str:
    """The statements of a check's remedy."""
    return remedy_of(Finding(Invariant.M3_ORDERED, name, 7, "")).sql


@pytest.mark.parametrize("name", [name for name in damage() if remedy_for(name)])
async def test_a_remedy_with_statements_repairs(group: Group, admin_dsn: str, names: dict[str, Any], name: str) -> None:
    await break_(admin_dsn, damage()[name].statements.format(**names))
    found = await check(group.store)
    assert found
    for statements in dict.fromkeys(remedy_of(finding).sql for finding in found):
        await group.script(statements)
    assert [str(finding) for finding in await check(group.store)] == []


@pytest.mark.parametrize("name", [c.name for c in all_checks()])
def test_every_check_has_a_remedy(name: str) -> None:
    remedy = remedy_of(Finding(Invariant.M3_ORDERED, name, 7, ""))
    assert remedy.words.endswith(".")
    assert "{" not in remedy.sql
    assert "@" not in remedy.sql
