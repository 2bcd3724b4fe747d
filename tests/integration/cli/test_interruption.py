"""A command that is interrupted in the middle leaves nothing broken, and the next one goes on.

Where "the middle" is, a lock in Postgres decides: the command waits for it when the signal comes.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from .conftest import LIMIT_S, Command, contents_of, fill, interrupt, wait_until

COUNT = 3000
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def filled(command: Command) -> Command:
    """A group `support` of thousands of memories; that in the middle was updated once."""
    fill(command.dsn, "support", [f"memory {n}" for n in range(COUNT)], updated=COUNT // 2)
    return command


@contextmanager
def held(dsn: str, statement: str) -> Iterator[None]:
    """A transaction that has done something and does not end."""
    with psycopg.connect(dsn) as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


def whole_export(command: Command, file: Path) -> list[str]:
    command.good("export", "--group", "support", "--output", str(file))
    return contents_of(file)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_export(filled: Command, tmp_path: Path, number: signal.Signals) -> None:
    file, part = tmp_path / "support.jsonl", tmp_path / "support.jsonl.part"
    with held(filled.dsn, "LOCK TABLE robotgroups.memory_versions IN ACCESS EXCLUSIVE MODE"):
        process = filled.start("export", "--group", "support", "--output", str(file))
        # three pages are written, the fourth needs the history
        wait_until(lambda: part.exists() and part.read_bytes().count(b'{"type":"mark"') == 3, process)
        ended = interrupt(process, number)
    assert not file.exists()
    assert part.read_bytes().endswith(b"\n")
    assert len(contents_of(part)) == 1500
    if number is signal.SIGKILL:
        assert ended.code == -9
    else:
        assert ended.code == 128 + number
        assert ended.err.splitlines() == [
            f"interrupted ({number.name})",
            f"go on with: robotgroups export --group support --output {file} --resume "
            "(and the options for the database)",
        ]
    with part.open("ab") as torn:
        torn.write(b'{"type":"memory","hash":"12')  # a line that was not written to its end
    again = filled.run("export", "--group", "support", "--output", str(file))
    assert again.code == 2
    assert f"{part} is left of an export that was interrupted: --resume goes on with it, or remove it" in again.err
    filled.good("export", "--group", "support", "--output", str(file), "--resume")
    assert not part.exists()
    assert contents_of(file) == whole_export(filled, tmp_path / "other.jsonl")
    whole = filled.good("export", "--group", "support", "--output", str(file), "--resume")
    assert whole.err == f"{file} is whole: there is nothing to go on with\n"
    filled.good("import", "--group", "copy", "--create", str(file))


def test_an_export_to_standard_output_that_was_cut_off_can_be_gone_on_with(filled: Command, tmp_path: Path) -> None:
    file = tmp_path / "support.jsonl"
    lines = filled.good("export", "--group", "support").out.splitlines(keepends=True)
    file.write_text("".join(lines[:1200]) + lines[1200][:50])
    filled.good("export", "--group", "support", "--output", str(file), "--resume")
    assert file.read_text().splitlines(keepends=True) == lines


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("other", "", "that export is of group support (local/default)"),
        ("support", "{nothing}", "line 3: this is no line of an export of robotgroups"),
    ],
)
def test_what_is_not_of_this_group_or_damaged_is_not_gone_on_with(
    filled: Command, tmp_path: Path, name: str, change: str, message: str
) -> None:
    fill(filled.dsn, "other", ["one"])
    part = tmp_path / "x.jsonl.part"
    lines = filled.good("export", "--group", "support").out.splitlines(keepends=True)
    if change:
        lines[2] = change + "\n"
    part.write_text("".join(lines[:1200]))
    ended = filled.run("export", "--group", name, "--output", str(tmp_path / "x.jsonl"), "--resume")
    assert ended.code in {1, 2}
    assert message in ended.err
    assert part.read_text() == "".join(lines[:1200]) or not change


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("stream", [False, True])
def test_an_import(filled: Command, tmp_path: Path, number: signal.Signals, stream: bool) -> None:
    file = tmp_path / "support.jsonl"
    expected = whole_export(filled, file)
    arguments = ["import", "--group", "copy", "--create", "-" if stream else str(file)]
    # somebody is just about to remember a memory of the sixth batch
    blocking = (
        "INSERT INTO robotgroups.memories (space_id, content, content_hash, originator, tokens) SELECT g.space_id, "
        "'x', robotgroups.memory_hash('memory 1400', '{}'), 'a', 1 FROM robotgroups.groups g WHERE g.name = 'copy'"
    )
    filled.good("import", "--group", "copy", "--create", "--dry-run", str(file))
    make_group(filled)
    with held(filled.dsn, blocking), psycopg.connect(filled.dsn, autocommit=True) as watch, file.open() as source:
        process = filled.start(*arguments, stdin=source.fileno() if stream else subprocess.DEVNULL)
        wait_until(lambda: watch.execute("SELECT FROM robotgroups.imports WHERE line >= 1251").fetchall(), process)
        ended = interrupt(process, number)
        done = watch.execute(
            "SELECT i.line, count(m.id) FROM robotgroups.imports i JOIN robotgroups.groups g ON g.id = i.group_id "
            "LEFT JOIN robotgroups.memories m ON m.space_id = g.space_id GROUP BY i.line"
        ).fetchall()
    ((line, count),) = done
    assert count == 1250
    if number is signal.SIGKILL:
        assert ended.code == -9
    else:
        assert ended.code == 130
        said, advice = ended.err.splitlines()
        assert said == "interrupted (SIGINT)"
        assert re.match(rf"lines up to {line:,} are imported; go on with: robotgroups import .* --resume ", advice)
    rest = filled.good(*arguments, "--resume", stdin=file.read_text() if stream else None)
    assert f"(from line {line + 1:,} on): {COUNT - 1250:,} new, 0 there already" in rest.err
    copy = tmp_path / "copy.jsonl"
    filled.good("export", "--group", "copy", "--output", str(copy))
    assert contents_of(copy) == expected
    assert filled.good("check").out == "2 groups: sound\n"


def make_group(command: Command) -> None:
    with psycopg.connect(command.dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT robotgroups.ensure_group('local', 'default', 'copy', '{\"language\": \"english\"}'::jsonb)"
        )


def test_an_import_that_waits_for_input_can_be_interrupted(filled: Command) -> None:
    lines = filled.good("export", "--group", "support").out.splitlines(keepends=True)
    with (
        filled.start("import", "--group", "copy", "--create", "-", stdin=subprocess.PIPE) as process,
        psycopg.connect(filled.dsn, autocommit=True) as watch,
    ):
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("".join(lines[:600]))
        process.stdin.flush()
        wait_until(lambda: watch.execute("SELECT FROM robotgroups.imports WHERE line >= 501").fetchall(), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 130
        said = process.stderr.read()
    assert said.startswith("interrupted (SIGINT)\nlines up to ")
