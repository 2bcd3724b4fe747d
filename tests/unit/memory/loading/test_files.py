"""Files: which are found, and what is told of those that cannot be read."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from robotgroups.errors import ArgumentError, InvalidFileError
from robotgroups.loading import iter_files, read_file


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")


def names(root: Path, pattern: str = "**/*.md") -> list[str]:
    return [str(p.relative_to(root)) for p in iter_files(root, pattern)]


def test_files_are_found_in_order(tmp_path: Path) -> None:
    make(tmp_path, "b.md", "a.md", "sub/deep/c.md", "a.txt", ".hidden.md", ".git/d.md", "sub/.x/e.md")
    (tmp_path / "dir.md").mkdir()
    assert names(tmp_path) == ["a.md", "b.md", "sub/deep/c.md"]
    assert names(tmp_path, "*.md") == ["a.md", "b.md"]
    assert names(tmp_path, "**/*.txt") == ["a.txt"]
    assert names(tmp_path, "nothing*") == []


def test_a_file_is_itself(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    assert list(iter_files(tmp_path / "a.txt")) == [tmp_path / "a.txt"]


def test_links_that_lead_outside_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "docs/a.md", "secret/s.md")
    (tmp_path / "docs/inside.md").symlink_to("a.md")
    (tmp_path / "docs/outside.md").symlink_to("../secret/s.md")
    (tmp_path / "docs/broken.md").symlink_to("nowhere.md")
    assert names(tmp_path / "docs") == ["a.md", "inside.md"]


def test_what_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match=r"nowhere: no such file or directory$"):
        iter_files(tmp_path / "nowhere")


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../*.md", "a/../../*.md"])
def test_a_pattern_stays_below(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ArgumentError, match="must be a relative glob such as"):
        iter_files(tmp_path, pattern)


def test_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "\ufeff# Übung\r\n".encode()
    (tmp_path / "a.md").write_bytes(content)
    os.utime(tmp_path / "a.md", (1_700_000_000, 1_700_000_000))
    monkeypatch.chdir(tmp_path)
    source = read_file("a.md")
    assert (source.path, source.text, source.size) == (tmp_path / "a.md", "# Übung\r\n", len(content))
    assert source.modified_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert source.content_hash == hashlib.sha256(content).hexdigest()
    assert read_file(tmp_path / "a.md", max_bytes=len(content)) == source


def test_what_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "latin.md").write_bytes("# Übung".encode("latin-1"))
    (tmp_path / "large.md").write_bytes(b"x" * 101)
    os.mkfifo(tmp_path / "pipe.md")
    for name, message in [
        ("missing.md", "missing.md: no such file$"),
        (".", "is no regular file$"),
        ("pipe.md", "pipe.md: is no regular file$"),
        ("latin.md", "latin.md: is no UTF-8 at byte 2: convert it$"),
        ("large.md", "large.md: is larger than 100 bytes: split it$"),
    ]:
        with pytest.raises(InvalidFileError, match=message):
            read_file(tmp_path / name, max_bytes=100)


def test_an_error_of_the_system_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match=r"^/proc/self/mem: cannot be read: Input/output error$"):
        read_file("/proc/self/mem")  # nothing is mapped at its beginning
    too_long = tmp_path / ("x" * 300)
    for call in (read_file, iter_files):
        with pytest.raises(InvalidFileError, match=r"x: cannot be read: File name too long$"):
            call(too_long)
