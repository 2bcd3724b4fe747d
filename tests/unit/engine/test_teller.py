"""Whom a robot tells, without a network."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from robotgroups import teller as teller_module
from robotgroups.link import HEAD_BYTES, Seal
from robotgroups.teller import Teller

SESSION = b"s" * 32


class Writer:
    """One end of a link: keeps what is written; or it has just been closed, as uvloop says it."""

    def __init__(self, *, closed: bool = False, unread: int = 0) -> None:
        self.closed, self.unread, self.aborted = closed, unread, False
        self.written: list[bytes] = []

    @property
    def transport(self) -> Any:
        return self

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: bytes) -> None:
        if self.closed:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        self.written.append(data[HEAD_BYTES:])


def told(teller: Teller, writer: Writer) -> UUID:
    follower = uuid4()
    teller._followers[follower] = writer, Seal(SESSION)  # type: ignore[assignment]
    return follower


def test_a_follower_that_has_just_ended_hinders_nobody() -> None:
    teller, ended, other = Teller(), Writer(closed=True), Writer()
    told(teller, ended)
    follower = told(teller, other)
    teller.tell(b"long", b"short")
    assert other.written == [b"long"]
    assert set(teller.followers) == {follower}


def test_who_reads_too_slowly_is_let_go() -> None:
    teller, slow, other = Teller(), Writer(unread=teller_module.MOST_UNREAD_BYTES + 1), Writer()
    told(teller, slow)
    follower = told(teller, other)
    teller.tell(b"long", b"short")
    assert (slow.aborted, other.aborted) == (True, False)
    assert set(teller.followers) == {follower}


def test_of_what_would_be_much_to_copy_only_the_revision_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller_module, "MOST_TOLD_BYTES", 8)
    teller, writers = Teller(), [Writer() for _ in range(3)]
    for writer in writers[:2]:
        told(teller, writer)
    teller.tell(b"long", b"short")
    told(teller, writers[2])
    teller.tell(b"long", b"short")
    assert [writer.written for writer in writers] == [[b"long", b"short"], [b"long", b"short"], [b"short"]]
