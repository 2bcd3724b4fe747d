"""What is said on a link, by which a robot tells the others of its group what it has written. No I/O.

Both ends prove that they know the key, which Postgres gives to nobody but the group's robots (S1), and each message is
sealed with it: who comes between can neither speak nor repeat, nor leave one out and go on. It hides nothing, as the
robots' HTTP API does not. A hint all the same: what a robot hears is what Postgres has, or is read there.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from uuid import UUID

from robotgroups.feed import Row
from robotgroups.models import Change, ChangeKind
from robotgroups.remembering import Kept

KEY_BYTES, NONCE_BYTES, PROOF_BYTES, SEAL_BYTES, LENGTH_BYTES, UUID_BYTES = 32, 16, 32, 16, 4, 16
HELLO_BYTES = NONCE_BYTES + UUID_BYTES + PROOF_BYTES  # of who follows: its nonce, its incarnation, its proof
HEAD_BYTES = LENGTH_BYTES + SEAL_BYTES
MAX_BYTES = 512 * 1024  # of one message: what is longer is read from the feed


class ForgedError(Exception):
    """Who speaks does not know the key, or something was put in, left out or repeated."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a robot tells what it writes, as Postgres knows it."""

    address: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Handshake:
    """What both ends know once they have greeted each other: who follows, and both nonces."""

    follower: UUID
    asked: bytes  # the nonce of who tells, which speaks first
    answered: bytes  # the nonce of who follows

    def proof(self, key: bytes, end: bytes) -> bytes:
        """What only who knows the key can say; each end ("follows", "tells") says its own."""
        said = self.asked + self.answered + self.follower.bytes
        return blake2b(said, key=key, person=end, digest_size=PROOF_BYTES).digest()

    def session(self, key: bytes) -> bytes:
        """The key that seals the messages of this link."""
        return self.proof(key, b"messages")


def nonce() -> bytes:
    """Said once."""
    return secrets.token_bytes(NONCE_BYTES)


def hello(key: bytes, handshake: Handshake) -> bytes:
    """How who follows answers the nonce of who tells."""
    return handshake.answered + handshake.follower.bytes + handshake.proof(key, b"follows")


def greeted(key: bytes, asked: bytes, answer: bytes) -> Handshake:
    """Take the answer apart. ForgedError."""
    answered, follower = answer[:NONCE_BYTES], answer[NONCE_BYTES : NONCE_BYTES + UUID_BYTES]
    handshake = Handshake(UUID(bytes=follower), asked, answered)
    check(handshake.proof(key, b"follows"), answer[NONCE_BYTES + UUID_BYTES :])
    return handshake


def check(expected: bytes, given: bytes) -> None:
    """ForgedError unless they are the same."""
    if not hmac.compare_digest(expected, given):
        raise ForgedError


class Seal:
    """Seals the messages of one link, at one end, or breaks their seals, at the other."""

    def __init__(self, session: bytes) -> None:
        self._session = session
        self._count = 0

    def close(self, message: bytes) -> bytes:
        """The message as it goes over the link."""
        return len(message).to_bytes(LENGTH_BYTES) + self._next(message) + message

    def open(self, seal: bytes, message: bytes) -> None:
        """ForgedError: it is not what was said next."""
        check(self._next(message), seal)

    def _next(self, message: bytes) -> bytes:
        self._count += 1
        return blake2b(
            self._count.to_bytes(8) + message, key=self._session, digest_size=SEAL_BYTES, person=b"message"
        ).digest()


def length(head: bytes) -> int:
    """How long the message of a head is. ForgedError: longer than any."""
    said = int.from_bytes(head[:LENGTH_BYTES])
    if said > MAX_BYTES:
        raise ForgedError
    return said


@dataclass(frozen=True, slots=True)
class Told:
    """What a message says: the group has reached ``revision``, by these changes, if they could be told."""

    revision: int
    changes: Sequence[Change]


def bare_message(revision: int) -> bytes:
    """A message that tells no more than the revision: the rest is read."""
    return f'{{"revision":{revision},"rows":[]}}'.encode()


def message(robot: str, kept: Sequence[Kept], revision: int) -> bytes:
    """What ``robot`` says of what it has remembered, in as few rows as the feed keeps of it.

    Only the first ones that can be told without Postgres (``changes_of``): the others are read.
    """
    rows = ",".join(row for run in _runs(kept) for row in _rows(robot, run))
    said = f'{{"revision":{revision},"rows":[{rows}]}}'.encode()
    return said if len(said) <= MAX_BYTES else bare_message(revision)


def _runs(kept: Sequence[Kept]) -> list[list[Kept]]:
    """The tellable ones; those for which somebody had to leave begin a new run."""
    runs: list[list[Kept]] = []
    for one in kept:
        if one.at is None or one.item.told is None:
            break
        if one.evicted or not runs:
            runs.append([])
        runs[-1].append(one)
    return runs


def _rows(robot: str, run: Sequence[Kept]) -> Iterator[str]:
    """The feed's rows of a run, as JSON; the items are text already."""
    first, last = run[0], run[-1]
    assert last.at is not None
    at, epoch = json.dumps(last.at.isoformat()), last.done.epoch
    if first.evicted:
        yield f'[{first.done.revision - 1},"evicted",{epoch},null,null,{{}},{at},{json.dumps(list(first.evicted))}]'
    room = max((one.item.tokens for one in run if one.done.in_working_memory), default=-1)
    items, ids = ",".join(one.item.json for one in run), ",".join(str(one.done.id) for one in run)
    yield (
        f'[{last.done.revision},"added",{epoch},null,{json.dumps(robot)},'
        f'{{"room":{room},"items":[{items}]}},{at},[{ids}]]'
    )


def told(said: bytes) -> Told:
    """Read a message. ForgedError: it is none."""
    try:
        data = json.loads(said)
        changes = [
            change
            for revision, kind, epoch, memory_id, robot, payload, at, ids in data["rows"]
            for change in Row(
                revision, ChangeKind(kind), epoch, memory_id, robot, payload, datetime.fromisoformat(at), ids
            ).changes()
        ]
        return Told(int(data["revision"]), changes)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ForgedError from error
