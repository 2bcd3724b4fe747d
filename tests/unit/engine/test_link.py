"""What is said on a link: the same that the feed tells, and only by who knows the key."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups.link import (
    HEAD_BYTES,
    LENGTH_BYTES,
    MAX_BYTES,
    ForgedError,
    Handshake,
    Seal,
    check,
    greeted,
    hello,
    length,
    message,
    nonce,
    told,
)
from robotgroups.models import Remembered
from robotgroups.remembering import Kept, NewMemory, changes_of, item_of
from robotgroups.tokens import DEFAULT

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
FOLLOWER = UUID(int=7)
AT = datetime(2026, 11, 29, 12, 30, 15, 123456, tzinfo=UTC)

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40).filter(str.strip)
memories = st.builds(
    NewMemory,
    content=words,
    tags=st.lists(st.sampled_from(["a", "a:b", "c"]), max_size=2, unique=True),
    metadata=st.sampled_from([None, None, None, {"n": 1}]),
    originator=st.sampled_from([None, "b", 'quote"d']),
    key=st.sampled_from([None, "key"]),
    scope=st.sampled_from([None, {"user": "u1"}]),
    expires_at=st.sampled_from([None, AT + timedelta(days=1)]),
)


@st.composite
def batches(draw: st.DrawFn) -> list[Kept]:
    """What remember_batch answers: revisions without a gap, and who left before who came."""
    revision, room, kept = draw(st.integers(1, 10**12)), draw(st.integers(0, 12)), []
    for number, memory in enumerate(draw(st.lists(memories, max_size=12))):
        item = item_of(memory, DEFAULT)
        evicted = draw(st.lists(st.integers(1, 10**9), max_size=3)) if draw(st.booleans()) else []
        revision += len(evicted) + 1
        done = Remembered(100 + number, revision, 3, True, item.tokens <= room, item.tokens)
        known = draw(st.integers(0, 9)) == 0
        kept.append(Kept(item, done, None if known else AT, evicted))
    return kept


@given(batches())
def test_a_message_tells_what_the_feed_would(kept: list[Kept]) -> None:
    heard = told(message('robot "a"', kept, 10**15))
    assert heard.revision == 10**15
    assert heard.changes == changes_of(kept, 'robot "a"')


def test_what_is_too_long_is_to_be_read() -> None:
    items = [item_of(NewMemory(f"{number} " + "word " * 20_000), DEFAULT) for number in range(8)]
    assert sum(len(item.json) for item in items) > MAX_BYTES
    kept = [Kept(one, Remembered(n, n + 1, 1, True, False, one.tokens), AT, ()) for n, one in enumerate(items)]
    heard = told(message("a", kept, 8))
    assert (heard.revision, list(heard.changes)) == (8, [])


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\xff", b"null", b"[]", b"{}", b'{"revision":1}', b'{"revision":"x","rows":[]}',
        b'{"revision":1,"rows":[[1]]}',
        json.dumps({"revision": 1, "rows": [[1, "no kind", 1, None, None, {}, AT.isoformat(), [1]]]}).encode(),
        json.dumps({"revision": 1, "rows": [[1, "added", 1, None, None, {}, AT.isoformat(), [1]]]}).encode(),
        json.dumps({"revision": 1, "rows": [[1, "evicted", 1, None, None, {}, "not a time", [1]]]}).encode(),
    ],
)  # fmt: skip
def test_garbage_is_no_message(said: bytes) -> None:
    with pytest.raises(ForgedError):
        told(said)


def test_both_ends_know_each_other_by_the_key() -> None:
    asked = nonce()
    mine = Handshake(FOLLOWER, asked, nonce())
    theirs = greeted(KEY, asked, hello(KEY, mine))
    assert theirs == mine
    check(mine.proof(KEY, b"tells"), theirs.proof(KEY, b"tells"))
    assert mine.session(KEY) == theirs.session(KEY)


def test_who_follows_without_the_key_is_refused() -> None:
    asked = nonce()
    with pytest.raises(ForgedError):
        greeted(KEY, asked, hello(OTHER_KEY, Handshake(FOLLOWER, asked, nonce())))


def test_an_answer_heard_on_another_link_is_refused() -> None:
    heard = hello(KEY, Handshake(FOLLOWER, nonce(), nonce()))
    with pytest.raises(ForgedError):
        greeted(KEY, nonce(), heard)


def test_a_proof_cannot_be_sent_back_as_ones_own() -> None:
    handshake = Handshake(FOLLOWER, nonce(), nonce())
    with pytest.raises(ForgedError):
        check(handshake.proof(KEY, b"tells"), handshake.proof(KEY, b"follows"))


def opened(seal: Seal, frame: bytes) -> bytes:
    """Takes a frame apart as who follows does."""
    head, said = frame[:HEAD_BYTES], frame[HEAD_BYTES:]
    assert length(head) == len(said)
    seal.open(head[LENGTH_BYTES:], said)
    return said


def test_messages_arrive_in_their_order() -> None:
    here, there = Seal(KEY), Seal(KEY)
    assert [opened(there, here.close(said)) for said in (b"one", b"", b"two")] == [b"one", b"", b"two"]


def test_what_was_repeated_left_out_altered_or_sealed_by_another_is_refused() -> None:
    here = Seal(KEY)
    first, second = here.close(b"first"), here.close(b"second")
    repeated = Seal(KEY)
    opened(repeated, first)
    with pytest.raises(ForgedError):
        opened(repeated, first)
    with pytest.raises(ForgedError):
        opened(Seal(KEY), second)
    with pytest.raises(ForgedError):
        opened(Seal(KEY), first[:-1] + b"T")
    with pytest.raises(ForgedError):
        opened(Seal(OTHER_KEY), first)


def test_a_message_longer_than_any_is_refused_before_it_is_read() -> None:
    assert length((MAX_BYTES).to_bytes(LENGTH_BYTES) + bytes(16)) == MAX_BYTES
    with pytest.raises(ForgedError):
        length((MAX_BYTES + 1).to_bytes(LENGTH_BYTES) + bytes(16))
