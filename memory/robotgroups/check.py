"""Verifies every invariant on a live database, and says what is broken: ``check(store)``, for its owner.

All that it reads is of one moment (a transaction that only reads, REPEATABLE READ): a busy group is as whole as an idle
one. What it looks for stands in the files checks/*.sql: statements, each under a comment that names it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from robotgroups.pool import Pool

# Of one check: a table full of the same damage is told of by its beginning.
MOST = 100
_HEADING = re.compile(r"^-- (?P<invariant>[A-Za-z0-9]+) (?P<name>[a-z-]+)$", re.MULTILINE)


class Invariant(StrEnum):
    """What is broken: by the design's number, or the part of memory that is."""

    R1_EPOCH = "R1"
    R2_FENCE = "R2"
    R3_ONE_PROMOTION = "R3"
    M1_DURABLE = "M1"
    M2_ONCE = "M2"
    M3_ORDERED = "M3"
    M4_BUDGET = "M4"
    M5_SYNC = "M5"
    S1_ISOLATION = "S1"
    SEARCH = "search"
    SPACES = "spaces"
    HISTORY = "history"
    DERIVED = "derived"


@dataclass(frozen=True, slots=True)
class Check:
    """One statement, which gives (group_id, detail) for everything that is wrong."""

    invariant: Invariant
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is broken: which invariant, found by which check, in which group (None: not of one), and what."""

    invariant: Invariant
    check: str
    group_id: int | None
    detail: str

    def __str__(self) -> str:
        where = "" if self.group_id is None else f"group {self.group_id}: "
        return f"{self.invariant} {self.check}: {where}{self.detail}"


def checks_of(text: str) -> tuple[Check, ...]:
    """The checks of a file, in its order."""
    headings = list(_HEADING.finditer(text))
    ends = [h.start() for h in headings[1:]] + [len(text)]
    return tuple(
        Check(Invariant(h["invariant"]), h["name"], text[h.end() : end].strip())
        for h, end in zip(headings, ends, strict=True)
    )


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check that this library carries."""
    folder = files("robotgroups") / "checks"
    return tuple(c for name in ("rows.sql", "walls.sql") for c in checks_of((folder / name).read_text("utf-8")))


async def check(store: Pool, checks: Sequence[Check] | None = None) -> list[Finding]:
    """Run the checks (None: all); nothing is found in a healthy database. At most 100 findings of each.

    It reads all of every table, a hash of every content included: a few seconds for 100,000 memories.

    Raises:
        NotPermittedError: the login is not the owner's.
        MemoryUnavailableError.

    """
    findings: list[Finding] = []
    async with store.one_moment() as connection:
        for one in all_checks() if checks is None else checks:
            cursor = await connection.execute(one.sql.encode())
            rows = await cursor.fetchmany(MOST + 1)
            findings += [Finding(one.invariant, one.name, r["group_id"], r["detail"]) for r in rows[:MOST]]
            if len(rows) > MOST:
                findings.append(Finding(one.invariant, one.name, None, f"and more than these {MOST}"))
    return findings
