"""What to change in memory when a file is loaded again: only what has changed in it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robotgroups.loading.document import Document
from robotgroups.loading.pieces import Chunk


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk of the file as it was loaded before: the memory that it became, its text's hash and its position."""

    memory_id: int
    content_hash: str
    position: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A chunk that stays, at another position."""

    stored: StoredChunk
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. ``add``, ``keep`` and ``update_position`` are in the document's order, ``remove`` in the stored one.

    Tags and metadata of the front matter are not compared: when they have changed, every kept chunk gets them anew.
    What ``remove`` names may also have been loaded from another file, or said by a robot: forget it when no one else
    holds it.
    """

    add: tuple[Chunk, ...]
    keep: tuple[StoredChunk, ...]
    update_position: tuple[Moved, ...]
    remove: tuple[StoredChunk, ...]

    @property
    def unchanged(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.add or self.update_position or self.remove)


def plan(stored: Sequence[StoredChunk], wanted: Document) -> Plan:
    """Compare what was loaded with what the file says now, by the hashes of the texts.

    A text that stands several times in a document is one memory (M2), where it stands first.
    """
    by_hash: dict[str, StoredChunk] = {}
    for old in stored:
        by_hash.setdefault(old.content_hash, old)
    chunks: dict[str, Chunk] = {}
    for chunk in wanted.chunks:
        chunks.setdefault(chunk.content_hash, chunk)
    known = [(by_hash[h], chunk) for h, chunk in chunks.items() if h in by_hash]
    staying = {old.memory_id for old, _ in known}
    return Plan(
        add=tuple(chunk for h, chunk in chunks.items() if h not in by_hash),
        keep=tuple(old for old, chunk in known if old.position == chunk.position),
        update_position=tuple(Moved(old, chunk) for old, chunk in known if old.position != chunk.position),
        remove=tuple(old for old in stored if old.memory_id not in staying),
    )
