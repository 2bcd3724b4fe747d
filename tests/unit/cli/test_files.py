"""The file of an export that was cut off anywhere, and input that comes in pieces."""

import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups.errors import ArgumentError, InvalidExportError
from robotgroups.models import GroupKey
from robotgroups.transfer.format import Header, LineKind, Position, Tally, kind_of, line_of
from robotgroups_cli.export_file import ExportFile, find, is_whole, part_of
from robotgroups_cli.import_file import Input, StoppedError

HEADER = Header(GroupKey("c", "n", "g"), "2026-03-01T00:00:00+00:00")


def memory(text: str) -> bytes:
    return line_of(LineKind.MEMORY, {"content": text, "originator": "a"})


PAGES = [[memory("one"), memory("two"), Position(2).line()], [memory("three"), Position(3).line()]]
LINES = [HEADER.line(), *PAGES[0], *PAGES[1], Position(3, (1, 2, "k")).line()]
WHOLE = b"".join(LINES)
# How much of it is left when it was cut off after so many bytes: up to the end of the last mark.
MARKS = [WHOLE.index(line) + len(line) for line in LINES if kind_of(line) is LineKind.MARK]


@given(at=st.integers(0, len(WHOLE)))
def test_wherever_it_was_cut_off_it_goes_on_behind_the_last_mark(at: int) -> None:
    found = find(io.BytesIO(WHOLE[:at]))
    size = max((mark for mark in MARKS if mark <= at), default=0)
    if found is None:
        assert size == 0
        return
    assert (found.size, found.header) == (size, HEADER)
    tally = Tally()
    for line in io.BytesIO(WHOLE[:size]):
        tally.add(line, kind_of(line))
    assert found.tally.end() == tally.end()
    positions = {MARKS[0]: Position(2), MARKS[1]: Position(3), MARKS[2]: Position(3, (1, 2, "k"))}
    assert found.position == positions[size]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (memory("one"), "line 1: it does not begin with a header"),
        (HEADER.line() + b"nonsense\n", "line 2: this is no line of an export"),
        (HEADER.line() * 2, "line 2: a header does not belong there"),
    ],
)
def test_what_is_damaged_is_not_gone_on_with(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidExportError, match=message):
        find(io.BytesIO(raw))


@settings(deadline=None)
@given(at=st.integers(0, len(WHOLE)))
def test_a_file_that_goes_on_ends_as_if_it_had_not_been_cut_off(
    tmp_path_factory: pytest.TempPathFactory, at: int
) -> None:
    path = tmp_path_factory.mktemp("export") / "x.jsonl"
    part_of(path).write_bytes(WHOLE[:at])
    file, found = ExportFile.resume(path)
    rest = io.BytesIO(WHOLE[found.size if found else 0 :])
    file.write(rest.readlines())
    end = file.finish()
    tally = Tally()
    for line in LINES:
        tally.add(line, kind_of(line))
    assert path.read_bytes() == WHOLE + tally.end().line()
    assert end == tally.end()
    assert is_whole(path)
    assert not part_of(path).exists()


def test_two_do_not_write_the_same_file(tmp_path: Path) -> None:
    file = ExportFile.create(tmp_path / "x")
    file.write([HEADER.line()])
    with pytest.raises(ArgumentError, match="another export is writing"):
        ExportFile.resume(tmp_path / "x")
    file.close()
    again, found = ExportFile.resume(tmp_path / "x")
    assert found is None
    again.close()


@pytest.mark.parametrize("raw", [b"", WHOLE, WHOLE + b'{"type":"end","memo'])
def test_what_has_no_last_line_is_not_whole(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x").write_bytes(raw)
    assert not is_whole(tmp_path / "x")


# -- input -------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(pieces=st.lists(st.binary(max_size=20) | st.just(b"\n"), max_size=10), limit=st.integers(1, 30))
def test_input_in_pieces_is_read_as_a_file_is(pieces: list[bytes], limit: int) -> None:
    ours, theirs = os.pipe()

    def feed() -> None:
        for piece in pieces:
            os.write(theirs, piece)
        os.close(theirs)

    feeder = threading.Thread(target=feed)
    feeder.start()
    source, expected = Input(ours), io.BytesIO(b"".join(pieces))
    try:
        while line := source.readline(limit):
            assert line == expected.readline(limit)
        assert expected.read() == b""
        assert source.at == len(b"".join(pieces))
    finally:
        feeder.join()
        os.close(ours)


def test_who_waits_for_input_can_be_stopped() -> None:
    ours, theirs = os.pipe()
    source = Input(ours)
    os.write(theirs, b"half a li")
    source_stops = threading.Timer(0, source.stop)
    source_stops.start()
    with pytest.raises(StoppedError):
        source.readline(100)
    source_stops.join()
    os.close(ours)
    os.close(theirs)
