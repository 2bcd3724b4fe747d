"""Debian's package descriptions, read from the machine's own sources by apt: texts that we did not write.

The lists go to a directory of our own under build/, so that nothing of the system changes. ``python -m
benchmarks.harness.debian`` writes data/vocabulary.txt anew from them.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.harness.options import ROOT
from benchmarks.harness.report import say

LISTS = ROOT / "build" / "apt"
VOCABULARY = ROOT / "benchmarks" / "data" / "vocabulary.txt"
VOCABULARY_SIZE = 20_000
HELPER = "/usr/lib/apt/apt-helper"
WORD = re.compile(r"[a-z]{2,24}")
SOURCE = "Debian"


@dataclass(frozen=True)
class Description:
    """A package's description: one line, and the text that follows it."""

    package: str
    short: str
    long: str


def descriptions() -> list[Description]:
    """All descriptions of Debian's main archive, in the order of the packages' names, each text once.

    Raises:
        RuntimeError: apt cannot read them here.

    """
    found: dict[str, Description] = {}
    seen: set[str] = set()
    for file in _translations():
        for description in parsed(_run(HELPER, "cat-file", file)):
            if description.package not in found and description.long not in seen:
                found[description.package] = description
                seen.add(description.long)
    if not found:
        raise RuntimeError("apt has no descriptions: this needs Debian's package lists (apt-get update)")
    return [found[name] for name in sorted(found)]


def parsed(text: str) -> Iterator[Description]:
    """The descriptions in a Translation-en file; those without a long text are left out."""
    for stanza in text.split("\n\n"):
        package = short = ""
        lines: list[str] = []
        for line in stanza.splitlines():
            if line.startswith("Package: "):
                package = line.removeprefix("Package: ")
            elif line.startswith("Description-en: "):
                short = line.removeprefix("Description-en: ")
            elif line.startswith(" "):
                lines.append("" if line == " ." else line.strip())
        if package and short and lines:
            yield Description(package, short, "\n".join(lines))


def _apt_options() -> list[str]:
    settings = {
        "Acquire::Languages": "en",
        "Dir::State::lists": str(LISTS / "lists"),
        "Dir::Cache": str(LISTS / "cache"),
        "APT::Sandbox::User": "",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def _translations() -> list[str]:
    for directory in ("lists/partial", "cache/archives/partial"):
        (LISTS / directory).mkdir(parents=True, exist_ok=True)
    if not any((LISTS / "lists").glob("*Translation-en*")):
        say("read Debian's package descriptions (20 MB)")
        _run("apt-get", "update", "-q", *_apt_options())
    targets = ["apt-get", "indextargets", *_apt_options(), "--format", "$(FILENAME)"]
    return sorted(_run(*targets, "Created-By: Translations", f"Origin: {SOURCE}").split())


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise RuntimeError(f"{command[0]} is missing: Debian's descriptions can be read on Debian only") from error
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:2])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def vocabulary() -> list[tuple[str, int]]:
    """The commonest words of the long texts with their counts, commonest first."""
    counts = Counter(word for d in descriptions() for word in WORD.findall(d.long.lower()))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:VOCABULARY_SIZE]


if __name__ == "__main__":
    VOCABULARY.write_text("".join(f"{word} {count}\n" for word, count in vocabulary()))
    say(f"written: {VOCABULARY.relative_to(ROOT)}")
