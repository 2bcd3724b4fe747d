"""What groups and robots may be called: DNS labels, as their pods are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robotgroups.errors import ArgumentError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def check_name(what: str, name: str) -> str:
    """Return a name. ArgumentError when it is none; ``what`` is how the message calls it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(
            f"{what} {name!r} must be a DNS label: lower-case letters, digits and '-', at most 63, "
            "beginning and ending with a letter or digit"
        )
    return name


def check_names(group: str, active: Sequence[str], passive: Sequence[str]) -> None:
    """Check the names of a group and of robots that are to join it. ArgumentError, which names the one."""
    for what, names in (("active", active), ("passive", passive)):
        if isinstance(names, str):
            raise ArgumentError(f"{what} must be a list of names, not the text {names!r}")
    seen: set[str] = set()
    for what, name in [("name", group), *(("active", n) for n in active), *(("passive", n) for n in passive)]:
        check_name(what, name)
        if what != "name":
            if name in seen:
                raise ArgumentError(f"robot {name!r} is named twice")
            seen.add(name)
