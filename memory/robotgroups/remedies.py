"""What to do about what ``check`` finds: words, and statements where statements can do it (checks/remedies.sql)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from robotgroups.check import Finding

# Statements that several remedies end with. The feed is given up by counting on: every robot is behind then.
_SHARED = {
    "@feed": """UPDATE robotgroups.groups g SET revision = x.head + 1, pruned_to = x.head + 1 FROM (
    SELECT greatest(max(c.revision), (SELECT revision FROM robotgroups.groups WHERE id = {group})) AS head
    FROM robotgroups.changes c WHERE c.group_id = {group}) x WHERE g.id = {group};
DELETE FROM robotgroups.changes WHERE group_id = {group};""",
    "@sums": """UPDATE robotgroups.groups g SET working_memory_nodes = w.nodes, working_memory_tokens = w.tokens,
    pinned_tokens = w.pinned, slots = greatest(g.slots, w.slots) FROM (
    SELECT count(*)::integer AS nodes, coalesce(sum(tokens), 0)::integer AS tokens,
        coalesce(sum(tokens) FILTER (WHERE pinned), 0)::integer AS pinned, coalesce(max(slot), 0) AS slots
    FROM robotgroups.working_memory WHERE group_id = {group}) w WHERE g.id = {group};""",
}
_HEADING = re.compile(r"^-- (?P<name>[a-z-]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Remedy:
    """Words, and the statements that do it; none where a person has to."""

    words: str
    sql: str


@cache
def _remedies() -> dict[str, Remedy]:
    """Every remedy by its check's name; ``{group}`` stands in the statements as it is."""
    text = (files("robotgroups") / "checks" / "remedies.sql").read_text("utf-8")
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    found = {}
    for heading, end in zip(headings, ends, strict=True):
        lines = text[heading.end() : end].strip().splitlines()
        words = [line.removeprefix("-- ") for line in lines if line.startswith("--")]
        sql = "\n".join(_SHARED.get(line, line) for line in lines if not line.startswith("--"))
        found[heading["name"]] = Remedy(" ".join(words), sql)
    return found


def remedy_of(finding: Finding) -> Remedy:
    """What to do about a finding. Run ``check`` again afterwards: it may have hidden something else."""
    remedy = _remedies()[finding.check]
    return Remedy(remedy.words, remedy.sql.replace("{group}", str(finding.group_id)))
