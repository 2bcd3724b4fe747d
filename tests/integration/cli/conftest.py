"""The command as people run it: a process with arguments, an environment, and two streams."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import psycopg
import pytest

from robotgroups.models import GroupKey, GroupSettings
from robotgroups.remembering import NewMemory, items_of
from robotgroups.store import Store
from robotgroups.updating import Patch

LIMIT_S = 60


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass
class Command:
    """`robotgroups`, for the database of one test."""

    dsn: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start it."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ROBOTGROUPS_")}
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "robotgroups_cli", *arguments],
            env=clean | {"ROBOTGROUPS_DSN": self.dsn} | dict(self.environment),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str, stdin: str | None = None) -> Ended:
        """Run it to its end."""
        process = self.start(*arguments, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        try:
            out, err = process.communicate(stdin, timeout=LIMIT_S)
        finally:
            process.kill()
        return Ended(process.returncode, out, err)

    def good(self, *arguments: str, stdin: str | None = None) -> Ended:
        """Run it, and it must end well."""
        ended = self.run(*arguments, stdin=stdin)
        assert ended.code == 0, ended.err
        return ended


def interrupt(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> Ended:
    """Send it a signal, and wait until it has ended."""
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    return Ended(process.returncode, out, err)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something holds, while a process runs."""
    ends = time.monotonic() + LIMIT_S
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"it has ended with {process.returncode}: {process.communicate()[1]}")
        if time.monotonic() > ends:
            process.kill()
            pytest.fail("it has not come so far")
        time.sleep(0.005)


@pytest.fixture
def command(dsn: str) -> Command:
    return Command(dsn)


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The owner, in autocommit."""
    with psycopg.connect(dsn, autocommit=True) as made:
        yield made


async def _fill(dsn: str, name: str, texts: list[str], updated: int | None) -> None:
    async with await Store.open(dsn) as store:
        group_id = await store.ensure_group(GroupKey("local", "default", name), GroupSettings())
        await store.reconcile_members(group_id, ["a"], [])
        writer = store.session(group_id)
        ids = []
        for at in range(0, len(texts), 1000):
            items = items_of([NewMemory(text, tags=["t"]) for text in texts[at : at + 1000]], "cl100k_base")
            ids += [done.id for done in (await writer.remember(None, None, items)).outcomes]  # type: ignore[union-attr]
        await writer.close()
        if updated is not None:
            patch = Patch.checked(texts[updated] + ", again")
            await store.update(
                group_id, robot=None, tenure=None, memory_id=ids[updated], patch=patch, tokenizer="cl100k_base"
            )


def fill(dsn: str, name: str, texts: list[str], updated: int | None = None) -> None:
    """Make a group that remembers texts; one of them was updated."""
    anyio.run(_fill, dsn, name, texts, updated)


def contents(lines: list[str]) -> list[str]:
    """An export without what it has of its own: header, marks, end."""
    return [line for line in lines if not line.startswith(('{"type":"header"', '{"type":"mark"', '{"type":"end"'))]


def contents_of(path: Path) -> list[str]:
    return contents(path.read_text("utf-8").splitlines())
